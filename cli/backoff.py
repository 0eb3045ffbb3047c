"""How long to wait before a program that ended is started again."""

from __future__ import annotations

from zeitwork import clock

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
STEADY_SECONDS = 60.0
_MAX_DOUBLINGS = 10  # keeps the power small; the longest delay is reached well before


class Backoff:
    """Doubles from half a second to thirty; a run of a minute makes it start afresh."""

    def __init__(self) -> None:
        self._failures = 0

    def after(self, ran_seconds: float) -> float:
        """The delay in seconds (± 10 %) after a run of `ran_seconds`."""
        if ran_seconds >= STEADY_SECONDS:
            self._failures = 0
        doublings = min(self._failures, _MAX_DOUBLINGS)
        self._failures += 1
        return clock.jitter(min(FIRST_SECONDS * 2**doublings, LONGEST_SECONDS))
