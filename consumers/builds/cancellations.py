"""Hears that a build was cancelled, so that its builder need not wait for the next renewal."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import override

from events import subjects
from events.builds import BuildCancelled
from events.bus import Bus
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_PAUSE_SECONDS = 1.0


class CancellationListener(Worker):
    """Calls `doubt` with the id of each build that is said to be cancelled.

    A word that gets lost costs seconds: builders look at the row when they renew their lease.
    """

    name = "build-cancellations"

    def __init__(self, bus: Bus, doubt: Callable[[str], None]) -> None:
        super().__init__()
        self._bus = bus
        self._doubt = doubt

    @override
    async def run(self) -> None:
        while True:
            try:
                async with self._bus.listen(subjects.facts(BuildCancelled)) as said:
                    async for message in said:
                        self._doubt(message.subject.rpartition(".")[2])
            except ZeitworkError as error:
                _log.debug("cancellations not heard", code=error.code)
            await clock.sleep(clock.jitter(_PAUSE_SECONDS))
