"""Watches that the streams and durables of a process exist, and makes anew what has gone.

A durable that disappears makes FastStream spin in silence, and a missing stream lets the outbox
grow; neither says a word. A durable starts anew behind what it has handled, as of the last look.
What a stream held is gone with it: `zeitwork events refill` brings it back from PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nats.js import JetStreamContext
from typing_extensions import override

from events import topology
from events.drift import Change
from events.nats_bus import NatsBus
from events.streams import STREAMS, Durable, Stream
from zeitwork import clock, logs, metrics
from zeitwork.errors import ZeitworkError
from zeitwork.loops import Loop

_log = logs.get(__name__)
_LOOK_SECONDS = 4.0  # ± 10 %: a loss is noticed within 5 s
_UNSEEN_SECONDS = 15.0


class Watch(Loop):
    """Looks every four seconds; unready when it could not look for fifteen.

    For a process that starts without a broker, too. It makes what is missing and changes nothing
    else: how streams and durables should be is decided where the topology is made.
    """

    def __init__(
        self,
        bus: NatsBus,
        *,
        streams: Sequence[Stream] = STREAMS,
        durables: Sequence[Durable] = (),
        replicas: int = 1,
    ) -> None:
        super().__init__("topology-guard", self.look, interval=_LOOK_SECONDS)
        self._bus = bus
        self._streams = streams
        self._durables = durables
        self._replicas = replicas
        self._positions: dict[str, _Position] = {}
        self._seen = -_UNSEEN_SECONDS

    @override
    async def ready(self) -> str | None:
        if clock.monotonic() - self._seen > _UNSEEN_SECONDS:
            return "streams and durables were not seen lately"
        return await super().ready()

    async def look(self) -> None:
        """One round.

        Raises:
            BrokerUnavailable: NATS does not answer.
            TopologyRefused: NATS does not let what is missing be made.
        """
        if await self._bus.ready() is not None:
            return  # the connection says so itself
        js = self._bus.jetstream
        if absent := await self._absent(js):
            await self._restore(js, absent)
        born = await topology.births(js, self._streams)
        handled = await topology.positions(js, self._durables)
        self._positions = {
            durable.name: _Position(handled[durable.name], born[durable.stream])
            for durable in self._durables
            if durable.name in handled and durable.stream in born
        }
        self._seen = clock.monotonic()

    async def _absent(self, js: JetStreamContext) -> list[Change]:
        """What has to be made anew, each durable behind what it has handled of this stream."""
        born = await topology.births(js, self._streams)
        changes = await topology.plan(
            js,
            streams=self._streams,
            durables=self._durables,
            replicas=self._replicas,
            positions={
                durable.name: position.handled
                for durable in self._durables
                if (position := self._positions.get(durable.name)) is not None
                and position.stream_born == born.get(durable.stream)
            },
        )
        return [change for change in changes if change.action == "create"]

    async def _restore(self, js: JetStreamContext, absent: Sequence[Change]) -> None:
        try:
            await topology.apply(js, absent)
        except ZeitworkError:
            # Another process may have been quicker, and then nothing is missing any more.
            if await self._absent(js):
                raise
        metrics.TOPOLOGY_RESTORED.inc(len(absent))
        lost = any(change.kind == "stream" for change in absent)
        _log.error(
            "topology restored",
            missing=[change.name for change in absent],
            then="zeitwork events refill" if lost else None,
        )


class Guard(Watch):
    """Makes the topology as this version needs it, then watches it."""

    @override
    async def start(self) -> None:
        """Make the topology, then watch.

        Raises:
            BrokerUnavailable: NATS does not answer.
            TopologyRefused: a stream or durable exists that is not as we need it.
        """
        changes = await topology.provision(
            self._bus.jetstream,
            streams=self._streams,
            durables=self._durables,
            replicas=self._replicas,
        )
        if changes:
            _log.info("topology changed", changes=changes)
        self._seen = clock.monotonic()
        await super().start()


@dataclass(frozen=True, slots=True)
class _Position:
    """The last handled sequence of a durable; it means nothing in a stream made later."""

    handled: int
    stream_born: str
