"""The wiring of a dry run: the shipped handlers, and everything round them refuses to act.

Database transactions happen and are rolled back (`db/rehearsal.py`); what would leave the process
is recorded instead: writes to the shared cache, messages and signals, builds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from consumers.outcomes import Drop, Outcome
from consumers.wiring import Wiring
from db.rehearsal import Rehearsal
from events.builds import BuildRequested
from events.bus import Bus, Message
from events.envelope import Envelope
from zeitwork.cache import Cache


@dataclass
class Refused:
    """Outside effects that did not happen, in their order."""

    effects: list[dict[str, Any]] = field(default_factory=list)

    def note(self, effect: str, **about: Any) -> None:
        self.effects.append({"effect": effect, **about})


def rehearsing(wiring: Wiring, rehearsal: Rehearsal, refused: Refused) -> Wiring:
    """The wiring with nothing real left in it that could act."""
    return replace(
        wiring,
        work=rehearsal,
        builder=RefusingBuilder(refused),
        cache=RecordingCache(wiring.cache, refused),
        bus=RecordingBus(wiring.bus, refused),
        reports=RefusingReports(refused),
        comments=RefusingReports(refused),
    )


class RefusingBuilder:
    """Says which build it was asked for."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    async def build_requested(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, BuildRequested)  # noqa: S101 - bound so by the registry
        self._refused.note("build", build_id=event.build_id)
        return Drop("a dry run does not build")


class RefusingReports:
    """Says about which deployment or preview it was to tell GitHub."""

    def __init__(self, refused: Refused) -> None:
        self._refused = refused

    async def deployment_changed(self, envelope: Envelope) -> Outcome:
        self._refused.note("github.report", deployment_id=envelope.subject)
        return Drop("a dry run posts nothing")

    async def preview_changed(self, envelope: Envelope) -> Outcome:
        self._refused.note("github.comment", about=envelope.subject)
        return Drop("a dry run posts nothing")


class RecordingCache:
    """Reads for real; answers to a write as if the record were new."""

    def __init__(self, cache: Cache, refused: Refused) -> None:
        self._cache = cache
        self._refused = refused

    async def put(self, table: str, key: str, *, version: int, value: bytes) -> bool:
        said = value.decode("utf-8", "replace")
        self._refused.note("cache.put", table=table, key=key, version=version, value=said)
        return True

    async def remove(self, table: str, key: str, *, version: int) -> None:
        self._refused.note("cache.remove", table=table, key=key, version=version)

    async def records(self, table: str) -> Mapping[str, bytes]:
        return await self._cache.records(table)

    async def clear(self, table: str) -> None:
        self._refused.note("cache.clear", table=table)


class RecordingBus:
    """Looks and listens for real; what it is to send goes nowhere."""

    def __init__(self, bus: Bus, refused: Refused) -> None:
        self._refused = refused
        self.contents = bus.contents
        self.fetch = bus.fetch
        self.follow = bus.follow
        self.holds = bus.holds
        self.listen = bus.listen
        self.ready = bus.ready

    async def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._refused.note("publish", subject=message.subject, id=message.id)

    async def signal(self, subject: str, data: bytes = b"") -> None:
        self._refused.note("signal", subject=subject, bytes=len(data))

    async def remove(self, stream: str, sequence: int) -> None:
        self._refused.note("remove", stream=stream, sequence=sequence)
