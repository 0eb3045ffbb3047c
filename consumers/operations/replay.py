"""Hands events of the log to a consumer's shipped handlers once more, dry or for real.

The consumer has them in its inbox already, so both modes go by a name of their own in it:
`<durable>/<operation>`. For real, an event therefore takes effect once in an operation, however
often the operation itself is delivered. A dry run judges each event alone against the present
rows, since what the event before it would have written is not there.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from consumers.binding import Binding
from consumers.middleware import around, described
from consumers.operations.handler import Report
from consumers.operations.logged import LoggedDelivery
from consumers.operations.rehearsal import Refused, rehearsing
from consumers.outcomes import Done, Drop, Later, Outcome
from consumers.wiring import Wiring
from db.models import EventLog
from db.queries.event_log import EventFilter, event_filter, events_pages
from db.rehearsal import Change, Rehearsal
from events.operation_params import ReplayParams
from zeitwork import clock
from zeitwork.errors import DatabaseUnavailable, NotFound, TimedOut, ZeitworkError

Table: TypeAlias = Callable[[Wiring], Sequence[Binding]]

_DRY_EVENTS = 100
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2
_MOST_NAMED = 100  # events of a real replay that are named in its report
_MOST_CHARACTERS = 1000  # of one value in a report


@dataclass(frozen=True, slots=True)
class Failed:
    """The handler raised; `code` and `detail` as a consumer would log them."""

    code: str
    detail: str


class Replayer:
    """Runs operations of kind `replay`."""

    def __init__(self, wiring: Wiring, table: Table) -> None:
        """`table` makes every consumer's binding of a wiring; see `consumers.registry`."""
        self._wiring = wiring
        self._table = table
        self._database = wiring.work.database

    async def run(self, operation_id: str, params: ReplayParams) -> Report:
        """Replay the window.

        Raises:
            NotFound: there is no such deployment.
            DatabaseUnavailable: running the operation again goes on where it ended.
        """
        own = replace(self._wiring, inbox_suffix=f"/{operation_id}")
        limit = params.limit or (_DRY_EVENTS if params.mode == "dry" else None)
        outcomes: Counter[str] = Counter()
        named: list[dict[str, Any]] = []
        more = False
        with structlog.contextvars.bound_contextvars(replay=operation_id, mode=params.mode):
            async for page in events_pages(self._database, await self._filter(own, params)):
                for row in page:
                    if outcomes.total() == limit:
                        more = True
                        break
                    outcome, entry = await self._hand(own, row, params)
                    outcomes[_word(outcome)] += 1
                    if params.mode == "dry" or (
                        not isinstance(outcome, Done) and len(named) < _MOST_NAMED
                    ):
                        named.append(entry)
                if more:
                    break
        return {
            "mode": params.mode,
            "consumer": params.consumer,
            "matched": outcomes.total(),
            "more": more,
            "outcomes": dict(outcomes),
            "events": named,
        }

    async def _filter(self, wiring: Wiring, params: ReplayParams) -> EventFilter:
        """Only what the consumer takes; events that come during the replay are not in it."""
        async with self._database.read() as session:
            window = await event_filter(session, params)
        handlers = self._binding(wiring, params.consumer).handlers
        now = clock.now()
        return replace(
            window,
            until=min(window.until or now, now),
            types=frozenset(event.event_type for event in handlers),
        )

    def _binding(self, wiring: Wiring, consumer: str) -> Binding:
        for binding in self._table(wiring):
            if binding.durable.name == consumer:
                return binding
        raise NotFound(f"There is no consumer {consumer!r}.")

    async def _hand(
        self, wiring: Wiring, row: EventLog, params: ReplayParams
    ) -> tuple[Outcome | Failed, dict[str, Any]]:
        """Hand over one event; what came of it, and how the report says so."""
        if params.mode == "again":
            outcome = await _patiently(self._binding(wiring, params.consumer), row)
            return outcome, _entry(row, outcome)
        rehearsal, refused = Rehearsal(self._database), Refused()
        dry = rehearsing(wiring, rehearsal, refused)
        outcome, _ = await _handle(self._binding(dry, params.consumer), row)
        return outcome, _entry(row, outcome) | {
            "rows": [_written(change) for change in rehearsal.changes],
            "emitted": [
                {"type": said.type, "subject": said.subject, "data": _shown(_payload(said.data))}
                for said in rehearsal.emitted
            ],
            "refused": [_shown(effect) for effect in refused.effects],
        }


async def _patiently(binding: Binding, row: EventLog) -> Outcome | Failed:
    """Try an event a few times, as its durable would.

    Raises:
        DatabaseUnavailable: PostgreSQL is away; the events behind this one would fare no better.
    """
    attempt = 1
    while True:
        outcome, error = await _handle(binding, row)
        if not isinstance(error, ZeitworkError) or not error.retryable:
            return outcome
        if attempt == _ATTEMPTS:
            if isinstance(error, DatabaseUnavailable):
                raise error
            return outcome
        await clock.sleep(clock.jitter(_PAUSE_SECONDS * attempt))
        attempt += 1


async def _handle(binding: Binding, row: EventLog) -> tuple[Outcome | Failed, Exception | None]:
    """Let the handler see the event as its consumer would; what came of it, and its error."""
    delivery = LoggedDelivery(row, binding.durable)
    with around(delivery, binding.durable):
        try:
            async with asyncio.timeout(binding.durable.deadline):
                return await binding.handle(delivery), None
        except TimeoutError:
            error: Exception = TimedOut(f"not handled within {binding.durable.deadline:g} s")
        except Exception as raised:  # noqa: BLE001 - whatever a handler raises is in the report
            error = raised
    return Failed(*described(error)), error


def _word(outcome: Outcome | Failed) -> str:
    return type(outcome).__name__.lower()


def _entry(row: EventLog, outcome: Outcome | Failed) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": row.event_id,
        "type": row.type,
        "time": row.created_at.isoformat(),
        "subject": row.aggregate_id,
        "outcome": _word(outcome),
    }
    match outcome:
        case Drop(reason=reason) | Later(reason=reason):
            return said | {"reason": reason}
        case Failed(code=code, detail=detail):
            return said | {"reason": f"{code}: {detail}"}
        case Done():
            return said


def _written(change: Change) -> dict[str, Any]:
    what = "update" if change.before and change.after else "insert" if change.after else "delete"
    columns = {
        name: {"before": _shown(before), "after": _shown(after)}
        for name, (before, after) in change.differences().items()
    }
    return {"table": change.table, "key": dict(change.key), "what": what, "columns": columns}


def _payload(event: Any) -> Any:
    return event.model_dump(mode="json")


def _shown(value: Any) -> Any:
    """The value, long texts in it cut."""
    if isinstance(value, str) and len(value) > _MOST_CHARACTERS:
        return f"{value[:_MOST_CHARACTERS]}… ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {name: _shown(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(each) for each in value]
    return value
