"""Follows a stream in order through restarts of the server, without a durable.

An ephemeral pull consumer delivers without acknowledgements. What a broken connection swallowed is
found by gaps in the consumer's own numbering or by missing heartbeats; then a new consumer starts
behind the last message that was seen. (nats-py's ordered consumer starts from the beginning of the
stream when it is reset before its first message.)
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, Header, StatusCode

from events.bus import Stored
from events.cancellation import heeded
from zeitwork import clock, ids, logs

_log = logs.get(__name__)

_BATCH = 256  # messages asked for at a time; more than the client buffers would be lost
_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 2.5  # two missed heartbeats and a little
_EXPIRES_SECONDS = 30.0
_FORGET_SECONDS = 60.0  # the server drops a consumer that nobody asked for this long
_PAUSE_SECONDS = 0.5
_NANOSECONDS = 1_000_000_000
_ASK_AGAIN = frozenset({StatusCode.NO_MESSAGES.value, StatusCode.REQUEST_TIMEOUT.value})


class Follower:
    """One reader of a stream; `open`, then iterate `messages`, then `close`."""

    def __init__(
        self, jetstream: JetStreamContext, client: Client, *, stream: str, subject: str
    ) -> None:
        self._jetstream = jetstream
        self._client = client
        self._stream = stream
        self._subject = subject
        self._seen = 0
        self._consumer: str | None = None
        self._subscription: Subscription | None = None
        self._connection = 0
        self._delivered = 0
        self._owed = 0

    async def open(self, after: int | None) -> None:
        """Start behind sequence `after`; at the end of the stream with None."""
        self._seen = await self._last() if after is None else after
        await self._begin()

    async def messages(self) -> AsyncGenerator[Stored, None]:
        """The messages as they come; ends when the connection is closed."""
        while not self._client.is_closed:
            try:
                with heeded():
                    message = await self._next()
            except nats.errors.ConnectionClosedError:
                return
            except (nats.errors.Error, OSError) as error:
                with heeded():
                    await self._restart(error)
                continue
            if message is not None:
                self._seen = message.metadata.sequence.stream
                headers = dict(message.headers or {})
                yield Stored(message.subject, message.data, headers, self._seen)

    async def close(self) -> None:
        """Remove the consumer; a server that is away forgets it by itself."""
        await self._unsubscribe()
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._client.is_connected:
            with contextlib.suppress(nats.errors.Error):
                await self._jetstream.delete_consumer(self._stream, consumer)

    async def _next(self) -> Msg | None:
        """The next message in its order; None for what the server says in between.

        Raises:
            nats.errors.Error: this consumer is of no use any more.
        """
        if self._subscription is None or self._connection != self._client.stats["reconnects"]:
            raise nats.errors.StaleConnectionError
        if self._owed == 0:
            await self._ask()
        message = await self._subscription.next_msg(timeout=_SILENCE_SECONDS)
        status = (message.headers or {}).get(Header.STATUS.value)
        if status is None:
            self._owed -= 1
            self._delivered += 1
            if message.metadata.sequence.consumer != self._delivered:
                raise nats.errors.Error("messages are missing")
            return message
        if status in _ASK_AGAIN:
            self._owed = 0
        elif status != StatusCode.CONTROL_MESSAGE.value:
            raise nats.errors.Error(f"consumer ended with status {status}")
        return None

    async def _ask(self) -> None:
        """Ask for a batch; the server answers as messages come, with heartbeats in between."""
        assert self._subscription is not None  # noqa: S101 - `_next` has seen to it
        request = {
            "batch": _BATCH,
            "expires": int(_EXPIRES_SECONDS * _NANOSECONDS),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * _NANOSECONDS),
        }
        await self._client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            json.dumps(request).encode(),
            reply=self._subscription.subject,
        )
        self._owed = _BATCH

    async def _begin(self) -> None:
        """Make a consumer that starts behind the last message seen."""
        self._connection = self._client.stats["reconnects"]
        name = f"follow-{ids.token(12)}"
        await self._jetstream.add_consumer(
            self._stream,
            ConsumerConfig(
                name=name,
                description=f"follows {self._subject}",
                filter_subject=self._subject,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._seen + 1,
                ack_policy=AckPolicy.NONE,
                inactive_threshold=_FORGET_SECONDS,
                mem_storage=True,
                num_replicas=1,
            ),
        )
        self._consumer, self._delivered, self._owed = name, 0, 0
        self._subscription = await self._client.subscribe(self._client.new_inbox())

    async def _restart(self, reason: Exception) -> None:
        """Replace the consumer, or wait a little when that is not possible yet."""
        if self._subscription is not None:
            _log.info("follower restarts", stream=self._stream, reason=str(reason))
            await self._unsubscribe()
        try:
            if not self._client.is_connected:  # a request would wait in the client's buffer
                raise nats.errors.StaleConnectionError
            if (last := await self._last()) < self._seen:
                _log.warning("stream was made anew", stream=self._stream, last=last)
                self._seen = 0
            await self._begin()
        except (nats.errors.Error, OSError) as error:
            if not isinstance(error, nats.errors.ConnectionClosedError):
                await clock.sleep(clock.jitter(_PAUSE_SECONDS))

    async def _last(self) -> int:
        return (await self._jetstream.stream_info(self._stream)).state.last_seq

    async def _unsubscribe(self) -> None:
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()
