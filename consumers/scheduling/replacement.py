"""Which slots of a serving deployment get a new instance; pure.

An instance that is lost is replaced at once, by its event. One that failed on its node for good may
well fail again, so its successors wait: 10 s, then twice as long for each that ended within the
last hour, up to 10 minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

_FIRST_WAIT = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(minutes=10)
_REMEMBERED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Occupant:
    """An instance that has or had a slot; `ended_at` is None while it lives."""

    slot: int
    ended_at: datetime | None


def vacant(replicas: int, occupants: Sequence[Occupant], *, now: datetime) -> list[int]:
    """The slots without a living instance whose last one ended long enough ago."""
    return [
        slot
        for slot in range(replicas)
        if _vacant([one.ended_at for one in occupants if one.slot == slot], now)
    ]


def _vacant(ends: Sequence[datetime | None], now: datetime) -> bool:
    ended = [at for at in ends if at is not None]
    if len(ended) < len(ends):
        return False
    recent = [at for at in ended if now - at < _REMEMBERED]
    if not recent:
        return True
    wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(len(recent) - 1, 10))
    return now - max(recent) >= wait
