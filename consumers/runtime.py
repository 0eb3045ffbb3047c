"""Binds durables to handlers: FastStream pulls, `consumers.middleware` settles.

Each unit of concurrency is a subscriber of its own that asks for one message at a time.
FastStream's `max_workers` would fetch more than it runs, and jobs would run twice. Where messages
are taken together, `consumers.pulling` pulls.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import nats.errors
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from faststream.nats.security import NatsSecurity, NatsToken
from faststream.security import SASLPlaintext
from nats.aio.client import Client
from pydantic import SecretStr
from typing_extensions import override

from consumers.binding import Bound
from consumers.deferrals import Deferrals
from consumers.middleware import Settle, Settler
from consumers.pulling import Puller
from events import drift, nats_url
from events.guard import Guard
from events.nats_bus import NatsBus, disconnect
from events.nats_delivery import NatsDelivery
from events.nats_url import Endpoint
from zeitwork import logs
from zeitwork.errors import BrokerUnavailable
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)

_CONNECT_SECONDS = 10.0
_FETCH_SECONDS = 2.0  # a pull that a reconnect has lost is noticed after this long
_SETTLE_SECONDS = 2.0  # for interrupted handlers to hand their messages back


class ConsumerRuntime:
    """Pulls from every bound durable, and guards that all of them exist."""

    name = "consumers"

    def __init__(
        self,
        url: SecretStr | str,
        bindings: Sequence[Bound],
        *,
        graceful_seconds: float = 15.0,
        replicas: int = 1,
    ) -> None:
        self._url = url.get_secret_value() if isinstance(url, SecretStr) else url
        self._bindings = bindings
        durables = [binding.durable for binding in bindings]
        self._graceful_seconds = graceful_seconds
        self._bus = NatsBus(self._url, name="settling")
        self._settler = Settler(durables, bus=self._bus, ledger=Deferrals(self._bus))
        self._guard = Guard(self._bus, durables=durables, replicas=replicas)
        self._broker: NatsBroker | None = None
        self._client: Client | None = None
        self._pullers: list[Puller] = []

    async def start(self) -> None:
        """Make the topology, connect and pull.

        Raises:
            BrokerUnavailable: NATS does not answer.
            TopologyRefused: a durable exists that is not as we need it.
        """
        if self._broker is not None:
            return
        await self._bus.start()
        await self._guard.start()
        self._broker = self._assembled()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._client = await self._broker.connect()
                await self._broker.start()
        except (TimeoutError, OSError, nats.errors.Error) as error:
            raise BrokerUnavailable("NATS does not let the consumers subscribe") from error
        for binding in self._bindings:
            if binding.together is not None:
                for _ in range(binding.concurrency):
                    self._pullers.append(Puller(self._client, binding, self._settler))
        for puller in self._pullers:
            puller.start()

    async def ready(self) -> str | None:
        if self._client is None:
            return "not started"
        if not self._client.is_connected:
            return "no connection to NATS"
        return await self._guard.ready() or await self._bus.ready()

    async def stop(self) -> None:
        """Let running handlers finish; after `graceful_seconds` their messages are handed back."""
        await self._guard.stop()
        broker, self._broker = self._broker, None
        client, self._client = self._client, None
        pullers, self._pullers = self._pullers, []
        if broker is not None:
            stopping = spawn(_stop(broker, pullers), "stop-consumers")
            await asyncio.wait({stopping}, timeout=self._graceful_seconds)
            self._settler.interrupt()
            await asyncio.wait({stopping}, timeout=_SETTLE_SECONDS)
            await cancel(stopping)
            if not stopping.cancelled() and (error := stopping.exception()):
                _log.warning("consumers not stopped in order", error=str(error))
        if client is not None and not client.is_closed:
            await disconnect(client)
        await self._bus.stop()

    def _assembled(self) -> NatsBroker:
        endpoint = nats_url.parse(self._url)
        broker = _Broker(
            list(endpoint.servers),
            security=_security(endpoint),
            name="zeitwork-consumers",
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=10,
            # Above our own limit: `stop` interrupts handlers itself, so that they can answer.
            graceful_timeout=self._graceful_seconds + 2 * _SETTLE_SECONDS,
            ack_policy=AckPolicy.MANUAL,
            middlewares=[partial(Settle, settler=self._settler)],
            logger=_FrameworkLog(),
            apply_types=False,
            serializer=None,
        )
        for binding in self._bindings:
            if binding.together is None:
                for _ in range(binding.concurrency):
                    _subscribe(broker, binding)
        return broker


async def _stop(broker: NatsBroker, pullers: Sequence[Puller]) -> None:
    """Ask for nothing more, and wait until what was begun has come to its end."""
    subscribers = broker.subscribers
    await asyncio.gather(*(each.stop() for each in pullers), *(each.stop() for each in subscribers))
    await broker.stop()  # closes the connection, through which all of them answer


class _Broker(NatsBroker):
    """Goes on reconnecting whatever a server answers.

    FastStream raises from nats-py's error callback when a server refuses the credentials or has too
    many connections; that ends the task that reconnects, and the process stays deaf for good.
    """

    _refusal: str | None = None

    @override
    def _log_connection_broken(self, error_cb: Any = None) -> Any:
        async def note(error: Exception) -> None:
            text = str(error) or type(error).__name__
            # What NATS says needs an operator, once; that it is away, the bus has said already.
            news = isinstance(error, nats.errors.Error) and text != self._refusal
            log = _log.warning if news else _log.debug
            log("bus error", connection="consumers", error=text)
            if news:
                self._refusal = text

        return note

    @override
    def _log_reconnected(self, cb: Any = None) -> Any:
        async def forget() -> None:
            self._refusal = None  # the next one is news, even in the same words

        return super()._log_reconnected(forget)


def _security(endpoint: Endpoint) -> NatsSecurity | SASLPlaintext | None:
    if endpoint.token is not None:
        return NatsToken(endpoint.token)
    if endpoint.user is not None:
        return SASLPlaintext(username=endpoint.user, password=endpoint.password or "")
    return None


class _FrameworkLog:
    """FastStream's log lines from warnings up; it writes two others for every message."""

    def log(self, level: int, msg: Any, /, *, exc_info: Any = None, **_extra: Any) -> None:
        if level >= logging.WARNING:
            _log.log(level, "faststream", detail=str(msg), exc_info=exc_info)


def _subscribe(broker: NatsBroker, binding: Bound) -> None:
    durable = binding.durable
    subscriber = broker.subscriber(
        durable=durable.name,
        stream=JStream(durable.stream, declare=False),
        # Only read if the durable vanishes between the look and the subscription.
        config=drift.consumer_config(durable),
        pull_sub=PullSub(batch_size=1, timeout=_FETCH_SECONDS),
        decoder=_undecoded,  # decoding belongs to the attempt: what cannot be decoded is buried
        no_reply=True,
    )
    subscriber(binding.handle)


async def _undecoded(message: NatsMessage) -> NatsDelivery:
    return NatsDelivery(message.raw_message)
