"""A handler's effects, its note in the inbox and its events: all of them once, or none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import func, select

from consumers.handling import once
from consumers.outcomes import Done, Drop, Later, Outcome
from db.models import Organisation
from db.models.outbox import Inbox
from db.queries.organisations import organisation_create
from db.session import Transaction, UnitOfWork
from events.envelope import Envelope
from events.event import Event
from events.nodes import NodeReady
from events.organisations import OrganisationCreated
from tests.support.factories import envelope, events_of, every
from zeitwork.errors import DatabaseUnavailable

Answer = Callable[[], Outcome]


class Founder:
    """Founds an organisation at every call, and answers as it is told."""

    def __init__(self, work: UnitOfWork, answer: Answer) -> None:
        self.answer = answer
        self.calls = 0
        self._work = work

    def named(self, consumer: str) -> Callable[[Envelope], Awaitable[Outcome]]:
        return once(self._work, consumer, self._handle)

    async def _handle(self, tx: Transaction, _event: Event) -> Outcome:
        self.calls += 1
        organisation_create(tx, slug=f"acme-{self.calls}", name="Acme")
        return self.answer()


@pytest.fixture
def said() -> Envelope:
    return envelope(NodeReady(node_id="n"), subject="n")


async def effects(work: UnitOfWork) -> tuple[int, int, int]:
    """Rows, events and notes."""
    async with work.database.read() as session:
        notes = (await session.execute(select(func.count()).select_from(Inbox))).scalar_one()
    founded = await events_of(work.database, type_=OrganisationCreated.event_type)
    return len(await every(work, Organisation)), len(founded), notes


def fail() -> Outcome:
    raise DatabaseUnavailable("away")


@pytest.mark.parametrize("answer", [Done(), Drop("means nothing")])
async def test_an_event_that_is_done_with_is_not_handled_again(
    work: UnitOfWork, said: Envelope, answer: Outcome
) -> None:
    founder = Founder(work, lambda: answer)
    handle = founder.named("c")
    assert [await handle(said) for _ in range(3)] == [answer, Done(), Done()]
    assert founder.calls == 1
    assert await effects(work) == (1, 1, 1)


async def test_another_consumer_handles_the_same_event(work: UnitOfWork, said: Envelope) -> None:
    founder = Founder(work, Done)
    for consumer in ("one", "other", "one"):
        await founder.named(consumer)(said)
    assert await effects(work) == (2, 2, 2)


async def test_what_is_put_off_has_had_no_effect_and_is_handled_when_it_comes_again(
    work: UnitOfWork, said: Envelope
) -> None:
    later = Later(3.0, "not now")
    founder = Founder(work, lambda: later)
    handle = founder.named("c")
    assert await handle(said) == later
    assert await effects(work) == (0, 0, 0)
    founder.answer = Done
    assert await handle(said) == Done()
    assert await effects(work) == (1, 1, 1)


async def test_what_failed_has_had_no_effect_and_is_handled_when_it_comes_again(
    work: UnitOfWork, said: Envelope
) -> None:
    founder = Founder(work, fail)
    handle = founder.named("c")
    with pytest.raises(DatabaseUnavailable):
        await handle(said)
    assert await effects(work) == (0, 0, 0)
    founder.answer = Done
    await handle(said)
    assert await effects(work) == (1, 1, 1)
