"""Which webhooks did not reach us, and when to ask for one again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

MOST_REQUESTS = 6
# GitHub lists a delivery a little after it made it; so much is read again each time.
OVERLAP = timedelta(minutes=10)
_FIRST_WAIT, _LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=2)
_OK, _REDIRECT = 200, 300
# The same body would be refused the same way: it is malformed, of no known form, or too large.
_HOPELESS = frozenset({400, 413, 422})


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt of GitHub's to deliver; `status` is 0 or an HTTP status."""

    id: int
    guid: str
    event: str
    at: datetime
    status: int


def missed(attempts: Iterable[Attempt], *, since: datetime) -> Mapping[str, Attempt]:
    """The newest attempt of each delivery that never arrived."""
    newest: dict[str, Attempt] = {}
    arrived: set[str] = set()
    for attempt in attempts:
        if attempt.at < since:
            continue
        if _OK <= attempt.status < _REDIRECT or attempt.status in _HOPELESS:
            arrived.add(attempt.guid)
        known = newest.get(attempt.guid)
        if known is None or attempt.id > known.id:
            newest[attempt.guid] = attempt
    return {guid: attempt for guid, attempt in newest.items() if guid not in arrived}


def next_request(asked: int, *, now: datetime) -> datetime | None:
    """When to ask for a delivery that was asked for so often; None when it was often enough."""
    if asked >= MOST_REQUESTS:
        return None
    wait: timedelta = _FIRST_WAIT * 3**asked
    return now + min(wait, _LONGEST_WAIT)
