"""What handlers of facts share: one transaction with the inbox, and the right kind of event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from consumers.outcomes import Done, Later, Outcome
from db.session import Take, Transaction, UnitOfWork
from events.envelope import Envelope
from events.event import Event
from zeitwork import failpoints
from zeitwork.failpoints import Failpoint

AnyEvent = TypeVar("AnyEvent", bound=Event)
FactHandler = Callable[[Transaction, AnyEvent], Awaitable[Outcome]]


def once(
    work: UnitOfWork, consumer: str, handler: FactHandler[AnyEvent]
) -> Callable[[Envelope], Awaitable[Outcome]]:
    """Run `handler` in a transaction that also notes the event in the consumer's inbox.

    A duplicate is done at once; `Later` rolls everything back, the note included.
    """

    async def handle(envelope: Envelope) -> Outcome:
        failpoints.reach(Failpoint.HANDLER_ENTERED)
        async with work.transaction(take=Take(consumer, envelope.id)) as tx:
            if not tx.first_time:
                return Done()
            # The registry binds each handler to the type it takes.
            outcome = await handler(tx, envelope.data)  # type: ignore[arg-type]
            if isinstance(outcome, Later):
                tx.discard()
            failpoints.reach(Failpoint.HANDLER_APPLIED)
        failpoints.reach(Failpoint.HANDLER_COMMITTED)
        return outcome

    return handle
