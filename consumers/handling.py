"""What handlers of facts share: one transaction with the inbox, and the right kind of event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from consumers.outcomes import Done, Later, Outcome
from db.session import Take, Transaction, UnitOfWork
from events.envelope import Envelope
from events.event import Event
from zeitwork import failpoints
from zeitwork.failpoints import Failpoint

AnyEvent = TypeVar("AnyEvent", bound=Event)
FactHandler = Callable[[Transaction, AnyEvent], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Part:
    """An event, its handler, and what is to surround the call of it."""

    envelope: Envelope
    handler: FactHandler[Any]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext


def once(
    work: UnitOfWork, consumer: str, handler: FactHandler[AnyEvent]
) -> Callable[[Envelope], Awaitable[Outcome]]:
    """Run `handler` in a transaction that also notes the event in the consumer's inbox.

    A duplicate is done at once; `Later` rolls everything back, the note included.
    """

    async def handle(envelope: Envelope) -> Outcome:
        outcomes: list[Outcome] = []
        await handle_parts(work, consumer, [Part(envelope, handler)], outcomes)
        return outcomes[0]

    return handle


async def handle_parts(
    work: UnitOfWork,
    consumer: str,
    parts: Sequence[Part],
    outcomes: list[Outcome],
    *,
    lock_seconds: float | None = None,
) -> None:
    """Handle events one after the other in one transaction; all of them have their effect, or none.

    Args:
        outcomes: gets an outcome for each part that came to its end. If the last one is `Later`,
            nothing has happened, and the parts behind it were not begun.
        lock_seconds: how long a statement waits for a lock, if less than usual.
    """
    failpoints.reach(Failpoint.HANDLER_ENTERED)
    take = Take(consumer, [part.envelope.id for part in parts])
    async with work.transaction(take=take, lock_seconds=lock_seconds) as tx:
        for part in parts:
            outcomes.append(await _handle(tx, part))
            if isinstance(outcomes[-1], Later):
                tx.discard()
                break
        failpoints.reach(Failpoint.HANDLER_APPLIED)
    failpoints.reach(Failpoint.HANDLER_COMMITTED)


async def _handle(tx: Transaction, part: Part) -> Outcome:
    if not tx.claims(part.envelope.id):
        return Done()
    with part.around():
        # The registry binds each handler to the type it takes.
        outcome = await part.handler(tx, part.envelope.data)
        await tx.part()
    return outcome
