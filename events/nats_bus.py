"""The bus on NATS JetStream, with raw nats-py: FastStream loses headers and confirms nothing.

Two or more messages for one stream go as an atomic batch (ADR-50): about four fsyncs a batch
instead of one a message. https://github.com/nats-io/nats-architecture-and-design/blob/main/adr/ADR-50.md
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import Header
from pydantic import SecretStr

from events import nats_contents, nats_queues, nats_url
from events.bus import Message, Stored, StreamFull, addressed
from events.cancellation import heeded
from events.nats_fetch import fetched
from events.nats_follower import Follower
from events.queues import Reading
from events.streams import DURABLES, STREAMS, Durable, Stream
from zeitwork import ids, logs, metrics
from zeitwork.errors import BodyTooLarge, BrokerUnavailable
from zeitwork.retry import patient

_log = logs.get(__name__)

TIMEOUT_SECONDS = 5.0
_START_SECONDS = 30.0
_RECONNECT_SECONDS = 1
_PING_SECONDS = 10  # two unanswered pings end a half-open connection
_PENDING_BYTES = 8 * 1024 * 1024  # kept for the server while it is away; beyond it publishing fails
_LISTEN_MESSAGES = 1024
_LISTEN_BYTES = 4 * 1024 * 1024
_MSG_ID = Header.MSG_ID.value  # an enum's value is a slow look-up, for something done per message
_BATCH_ID = Header.BATCH_ID.value
_BATCH_SEQUENCE = Header.BATCH_SEQUENCE.value
_BATCH_COMMIT = Header.BATCH_COMMIT.value
_MAX_BATCH = 1000  # the server's limit

# Error codes of nats-server 2.15, server/errors.json.
_TOO_LARGE = 10054
_NO_STREAM = 10059
_STORE_FAILED = 10077  # full; a batch answers the same text for a full stream and a queued job
_BATCH_REFUSED = frozenset(
    {
        10174,  # atomic publishing is off
        10176,  # incomplete: a message in the middle was refused, or the leader changed
        10199,  # too large
        10201,  # contains a message that is stored already
        10210,  # too many batches in flight
    }
)


class NatsBus:
    """One connection that publishes, signals, listens and follows; reconnects for ever."""

    def __init__(self, url: SecretStr | str, *, name: str) -> None:
        """`name` labels the connection in the server's monitoring and this service in ours.

        Raises:
            InvalidSettings: `url` cannot be read.
        """
        self.name = name
        self._url = url.get_secret_value() if isinstance(url, SecretStr) else url
        nats_url.parse(self._url)
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None

    @property
    def client(self) -> Client:
        if self._client is None:
            raise BrokerUnavailable("the bus is not started")
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        if self._jetstream is None:
            raise BrokerUnavailable("the bus is not started")
        return self._jetstream

    async def start(self) -> None:
        """Connect; a server that is still starting is waited for.

        Raises:
            BrokerUnavailable: there was no answer within 30 s.
        """
        if self._client is None:
            client: Client = await patient(_START_SECONDS)(connect, self._url, name=self.name)
            self._client, self._jetstream = client, client.jetstream(timeout=TIMEOUT_SECONDS)

    async def ready(self) -> str | None:
        if self._client is None:
            return "not started"
        return None if self._client.is_connected else "no connection to NATS"

    async def stop(self) -> None:
        client, self._client, self._jetstream = self._client, None, None
        if client is not None:
            await disconnect(client)

    async def publish(self, messages: Sequence[Message]) -> None:
        rows = [addressed(message) for message in messages]
        if not self.client.is_connected:  # the client would keep them and answer by a time-out
            raise BrokerUnavailable("there is no connection to NATS")
        for stream, run in itertools.groupby(rows, key=lambda row: row[0]):
            whole = [message for _, message in run]
            for start in range(0, len(whole), _MAX_BATCH):
                with _translated():
                    await self._store(stream, whole[start : start + _MAX_BATCH])

    async def signal(self, subject: str, data: bytes = b"") -> None:
        with _translated():
            await self.client.publish(subject, data)

    async def queues(
        self, *, streams: Sequence[Stream] = STREAMS, durables: Sequence[Durable] = DURABLES
    ) -> Reading:
        with _translated():
            return await nats_queues.read(self.jetstream, streams=streams, durables=durables)

    @asynccontextmanager
    async def listen(
        self, subject: str, *, queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """See `Bus.listen`. Signals that a slow listener cannot take are dropped."""
        with _translated():
            subscription = await self.client.subscribe(
                subject,
                queue=queue or "",
                pending_msgs_limit=_LISTEN_MESSAGES,
                pending_bytes_limit=_LISTEN_BYTES,
            )
            await self.client.flush(int(TIMEOUT_SECONDS))
        signals = _signals(subscription)
        try:
            yield signals
        finally:
            await signals.aclose()
            with contextlib.suppress(nats.errors.Error):
                await subscription.unsubscribe()

    @asynccontextmanager
    async def follow(
        self, stream: str, subject: str, *, after: int | None = None
    ) -> AsyncIterator[AsyncIterator[Stored]]:
        follower = Follower(self.jetstream, self.client, stream=stream, subject=subject)
        with _translated():
            await follower.open(after)
        messages = follower.messages()
        try:
            yield messages
        finally:
            await messages.aclose()
            await follower.close()

    async def fetch(self, stream: str, sequence: int) -> Stored | None:
        with _translated():
            return await fetched(self.client, stream, sequence)

    async def remove(self, stream: str, sequence: int) -> None:
        with _translated():
            try:
                await self.jetstream.delete_msg(stream, sequence)
            except nats.js.errors.APIError:
                # The server has one code for every reason, "there is none" among them.
                if await fetched(self.client, stream, sequence) is not None:
                    raise

    async def contents(self, stream: str, subject: str) -> AsyncGenerator[Stored, None]:
        reading = nats_contents.read(self.jetstream, stream, subject)
        with _translated():
            async for stored in reading:
                yield stored

    async def holds(self, stream: str, subject: str) -> bool:
        with _translated():
            try:
                await self.jetstream.get_last_msg(stream, subject)
            except nats.js.errors.NotFoundError as error:
                if error.err_code == _NO_STREAM:
                    raise
                return False
        return True

    async def _store(self, stream: Stream, rows: Sequence[Message]) -> None:
        """Store rows of one stream; jobs that are queued already are left out."""
        if stream.discards_new_per_subject:
            rows = _first_per_subject(rows)
        while rows:
            try:
                await self._write(stream, rows)
            except nats.js.errors.APIError as error:
                if error.err_code != _STORE_FAILED:
                    raise
                fresh = [row for row in rows if not await self._queued(stream, row)]
                if len(fresh) == len(rows):
                    raise StreamFull(f"{stream.name} is full: {error.description}") from error
                rows = fresh
            else:
                return

    async def _queued(self, stream: Stream, row: Message) -> bool:
        """True when the row's job waits in its stream; the error text cannot tell in a batch."""
        return stream.discards_new_per_subject and await self.holds(stream.name, row.subject)

    async def _write(self, stream: Stream, rows: Sequence[Message]) -> None:
        if len(rows) > 1 and stream.atomic:
            try:
                await self._write_batch(rows)
            except nats.js.errors.APIError as error:
                if error.err_code not in _BATCH_REFUSED:
                    raise
                metrics.BUS_BATCH_FALLBACKS.labels(stream.name).inc()
                _log.info("batch refused", stream=stream.name, code=error.err_code, rows=len(rows))
            else:
                return
        for row in rows:
            stored = await self.jetstream.publish(row.subject, row.data, headers=_headers(row))
            if stored.duplicate:
                metrics.BUS_DUPLICATES.labels(stream.name).inc()

    async def _write_batch(self, rows: Sequence[Message]) -> None:
        """Send rows as one batch: only the first and the last are answered."""
        batch = ids.token(16)
        for number, row in enumerate(rows, 1):
            headers = _headers(row)
            headers[_BATCH_ID] = batch
            headers[_BATCH_SEQUENCE] = str(number)
            if 1 < number < len(rows):
                await self.client.publish(row.subject, row.data, headers=headers)
                continue
            if number == len(rows):
                headers[_BATCH_COMMIT] = "1"
            answer = await self.client.request(
                row.subject, row.data, timeout=TIMEOUT_SECONDS, headers=headers
            )
            _raise_refusal(answer.data)


async def connect(url: str, *, name: str) -> Client:
    """A connection that never gives up once it is made.

    Raises:
        BrokerUnavailable: no server answered within 5 s.
        InvalidSettings: `url` cannot be read.
    """
    client = Client()
    endpoint = nats_url.parse(url)

    async def failed(error: Exception) -> None:
        # While the server is away every attempt ends here; the loss itself was a warning.
        log = _log.warning if client.is_connected else _log.debug
        log("bus error", connection=name, error=str(error) or type(error).__name__)

    async def disconnected() -> None:
        if not client.is_closed:
            _log.warning("bus disconnected", connection=name)

    async def reconnected() -> None:
        _log.info("bus reconnected", connection=name)

    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await client.connect(
                list(endpoint.servers),
                token=endpoint.token,
                user=endpoint.user,
                password=endpoint.password,
                name=f"zeitwork-{name}",
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_SECONDS,
                connect_timeout=int(TIMEOUT_SECONDS),
                ping_interval=_PING_SECONDS,
                pending_size=_PENDING_BYTES,
                error_cb=failed,
                disconnected_cb=disconnected,
                reconnected_cb=reconnected,
            )
    except (TimeoutError, OSError, nats.errors.Error) as error:
        await disconnect(client)
        raise BrokerUnavailable(f"NATS at {endpoint} does not answer") from error
    return client


async def disconnect(client: Client) -> None:
    """Send what is pending and close; gives up on a server that does not take it."""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await client.close()
    except (TimeoutError, OSError, nats.errors.Error) as error:
        _log.warning("bus not closed in order", error=str(error) or type(error).__name__)


def _headers(message: Message) -> dict[str, str]:
    headers = dict(message.headers)
    if message.id is not None:
        headers[_MSG_ID] = message.id
    return headers


def _first_per_subject(rows: Sequence[Message]) -> list[Message]:
    first: dict[str, Message] = {}
    for row in rows:
        first.setdefault(row.subject, row)
    return list(first.values())


def _raise_refusal(answer: bytes) -> None:
    """Raise the error in a batch's answer; an empty one accepts the first message."""
    refusal = json.loads(answer).get("error") if answer else None
    if refusal is not None:
        nats.js.errors.APIError.from_error(refusal)


async def _signals(subscription: Subscription) -> AsyncGenerator[Message, None]:
    async for message in subscription.messages:
        yield Message(message.subject, message.data, dict(message.headers or {}))


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what nats-py raises into errors of ours."""
    try:
        with heeded():
            yield
    except nats.js.errors.APIError as error:
        if error.err_code == _TOO_LARGE:
            raise BodyTooLarge("the message is more than its stream takes") from error
        raise BrokerUnavailable(f"NATS refused: {error.description}") from error
    except nats.errors.MaxPayloadError as error:
        raise BodyTooLarge("the message is more than the server takes") from error
    except (nats.js.errors.NoStreamResponseError, nats.errors.NoRespondersError) as error:
        raise BrokerUnavailable(
            "no stream takes the message; `zeitwork up` or the topology step creates them"
        ) from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"NATS did not confirm: {reason}") from error
