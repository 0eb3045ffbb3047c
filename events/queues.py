"""Queues as one look finds them, and what several looks tell about their speed; pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Protocol

from pydantic import BaseModel, ConfigDict, computed_field

from events.bus import Bus
from events.streams import DURABLES, STREAMS, Durable, Stream

WINDOW_SECONDS = 60.0


class StreamReading(BaseModel):
    """What a stream holds; a limit that it does not have is None."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    messages: int
    bytes: int
    max_messages: int | None
    max_bytes: int | None
    max_age_seconds: float | None
    first_sequence: int
    last_sequence: int


class DurableReading(BaseModel):
    """What waits for a durable and what it has handed out.

    Attributes:
        pending: not handed out yet.
        ack_pending: handed out and not answered yet, those put off included.
        redelivered: of these, how many were handed out more than once.
        idle_pulls: requests of replicas that wait for a message; none while all are busy.
        delivered: hand-outs so far, repeated ones included.
        position: the place in the stream up to which everything was handed out.
        oldest_at: when the oldest message that is not done was stored.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    description: str
    stream: str
    pending: int
    ack_pending: int
    redelivered: int
    idle_pulls: int
    paused: bool
    delivered: int
    position: int
    oldest_at: datetime | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def depth(self) -> int:
        """Messages that are not done: those that wait and those that are worked on."""
        return self.pending + self.ack_pending


class Reading(BaseModel):
    """One look at every queue; `missing` are streams and durables that should be there."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    streams: tuple[StreamReading, ...]
    durables: tuple[DurableReading, ...]
    missing: tuple[str, ...]


class InspectableBus(Bus, Protocol):
    """A bus whose queues can be looked at."""

    async def queues(
        self, *, streams: Sequence[Stream] = STREAMS, durables: Sequence[Durable] = DURABLES
    ) -> Reading:
        """What streams and durables hold now; looking changes nothing.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """


class Pace(BaseModel):
    """How fast a durable is.

    Attributes:
        rate: messages done per second; None until there were two looks.
        drain_seconds: until nothing is left if the depth goes on falling as it did; None while it
            does not fall.
    """

    model_config = ConfigDict(frozen=True)

    rate: float | None = None
    drain_seconds: float | None = None


class Trend:
    """The readings of the last minute."""

    def __init__(self, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds
        self._readings: deque[Reading] = deque()

    @property
    def newest(self) -> Reading | None:
        return self._readings[-1] if self._readings else None

    def add(self, reading: Reading) -> None:
        """Readings that are older than the newest one say nothing new."""
        if self.newest is not None and reading.at <= self.newest.at:
            return
        self._readings.append(reading)
        while (reading.at - self._readings[0].at).total_seconds() > self._window_seconds:
            self._readings.popleft()

    def pace(self, durable: str) -> Pace:
        """The pace of a durable over the window, or since it was last made anew."""
        seen = [
            (reading.at, each)
            for reading in self._readings
            for each in reading.durables
            if each.name == durable
        ]
        for index, ((_, earlier), (_, later)) in reversed(list(enumerate(pairwise(seen), 1))):
            if later.delivered < earlier.delivered or later.position < earlier.position:
                seen = seen[index:]
                break
        if len(seen) < 2:  # noqa: PLR2004 - a pace needs a beginning and an end
            return Pace()
        (began, first), (ended, last) = seen[0], seen[-1]
        seconds = (ended - began).total_seconds()
        done = sum(_done([earlier, later]) for (_, earlier), (_, later) in pairwise(seen))
        fallen = first.depth - last.depth
        if last.depth == 0:
            drain: float | None = 0.0
        else:
            drain = last.depth * seconds / fallen if fallen > 0 else None
        return Pace(rate=done / seconds, drain_seconds=drain)


def _done(pair: Sequence[DurableReading]) -> int:
    """How many messages were done between two looks.

    The server counts hand-outs, not answers. Repeated hand-outs are no progress: without new ones
    the position stands still, and then only what left `ack_pending` was done.
    """
    earlier, later = pair
    taken = min(later.delivered - earlier.delivered, later.position - earlier.position)
    return max(0, taken - (later.ack_pending - earlier.ack_pending))
