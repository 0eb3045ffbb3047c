"""What every runtime must do with messages that a durable takes together; effects are real rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from consumers.binding import Binding
from consumers.handling import FactHandler, once
from consumers.outcomes import Done, Drop, Later, Outcome
from consumers.together import OneTransaction
from db.models import Organisation
from db.session import Transaction, UnitOfWork
from events.builds import BuildCancelled, BuildStarted
from events.bus import Message
from events.envelope import wrap
from events.event import Event
from events.organisations import OrganisationCreated
from events.streams import Durable
from tests.contracts.consumption import Driver, started
from tests.support.eventually import eventually
from tests.support.factories import events_of, every
from zeitwork import ids, metrics
from zeitwork.errors import Unavailable

Answer: TypeAlias = "Outcome | Exception | Callable[[], Awaitable[Outcome]]"


@dataclass
class Founder:
    """Founds an organisation for each build, and answers as told, build by build and in turn."""

    told: dict[str, list[Answer]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def __call__(self, tx: Transaction, event: BuildStarted) -> Outcome:
        self.calls.append(event.build_id)
        organisation = Organisation(
            id=ids.new(ids.Prefix.ORGANISATION), slug=event.build_id, name="founded"
        )
        tx.session.add(organisation)
        tx.emit(
            OrganisationCreated(organisation_id=organisation.id, slug=event.build_id),
            subject=organisation.id,
            project_id=ids.new(ids.Prefix.PROJECT),  # that of the message is none of ours
        )
        answers = self.told.get(event.build_id, [])
        answer = answers.pop(0) if answers else Done()
        if isinstance(answer, Exception):
            raise answer
        return await answer() if callable(answer) else answer


class Held:
    """An answer that never comes."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self) -> Outcome:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError


def bound(work: UnitOfWork, durable: Durable, founder: Founder, *, concurrency: int = 1) -> Binding:
    handlers: dict[type[Event], FactHandler[Any]] = {BuildStarted: founder}
    return Binding(
        durable,
        {BuildStarted: once(work, durable.name, founder)},
        concurrency=concurrency,
        together=OneTransaction(work, durable, durable.name, handlers),
    )


def shared(durable: Durable, outcome: str) -> float:
    labels = {"durable": durable.name, "outcome": outcome}
    return metrics.REGISTRY.get_sample_value("zeitwork_shared_transactions_total", labels) or 0


async def founded(work: UnitOfWork) -> list[str]:
    """One for each effect."""
    return sorted(row.slug for row in await every(work, Organisation))


def builds(count: int) -> list[str]:
    return sorted(f"bld-{number}" for number in range(count))


class TogetherContract:
    """Subclasses give `driver`. What is published before a runtime starts is taken together."""

    async def test_messages_that_wait_share_a_transaction(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder({"bld-3": [Drop("not needed")]})
        await driver.bus.publish([started(driver.project, number) for number in range(20)])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert sorted(founder.calls) == builds(20)
        assert await founded(work) == builds(20)
        assert (shared(driver.durable, "kept"), shared(driver.durable, "undone")) == (2, 0)

    async def test_a_message_that_fails_takes_no_other_with_it(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder({"bld-2": [Unavailable("away")] * 9})
        await driver.bus.publish([started(driver.project, number) for number in range(6)])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert await founded(work) == [build for build in builds(6) if build != "bld-2"]
        assert shared(driver.durable, "undone") == 1
        # The shared try is none of its own.
        assert founder.calls.count("bld-2") == 1 + driver.durable.attempts
        (letter,) = await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>")
        assert letter.headers["zw-attempts"] == str(driver.durable.attempts)
        assert letter.headers["zw-error-code"] == "unavailable"

    async def test_what_cannot_be_read_is_buried_and_disturbs_nobody(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder()
        sent = [started(driver.project, number) for number in range(4)]
        sent.insert(2, replace(sent[0], data=b"{not json", id=None))
        await driver.bus.publish(sent)
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert sorted(founder.calls) == builds(4)
        assert await founded(work) == builds(4)
        assert (shared(driver.durable, "kept"), shared(driver.durable, "undone")) == (1, 0)
        (letter,) = await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>")
        assert letter.headers["zw-attempts"] == "1"

    async def test_the_same_event_twice_among_them_has_one_effect(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder()
        sent = [started(driver.project, number) for number in range(3)]
        await driver.bus.publish([*sent, replace(sent[1], id=None)])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert sorted(founder.calls) == builds(3)
        assert await founded(work) == builds(3)
        assert shared(driver.durable, "kept") == 1

    async def test_what_was_done_before_is_not_done_again(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder()
        sent = [started(driver.project, number) for number in range(3)]
        await driver.bus.publish(sent[:2])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        await driver.bus.publish([replace(message, id=None) for message in sent])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert sorted(founder.calls) == builds(3)
        assert await founded(work) == builds(3)

    async def test_what_is_put_off_keeps_no_other_waiting(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        later = Later(0.02, "not yet")
        founder = Founder({"bld-1": [later, later]})
        await driver.bus.publish([started(driver.project, number) for number in range(4)])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert await founded(work) == builds(4)
        assert founder.calls.count("bld-1") == 3
        assert await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>") == []

    async def test_the_others_do_not_wait_for_one_that_hangs(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        durable = replace(driver.durable, deadline=0.3, attempts=1)
        founder = Founder({"bld-0": [Held(), Held()]})
        await driver.bus.publish([started(driver.project, number) for number in range(4)])
        async with driver.running(bound(work, durable, founder)):
            await eventually(driver.settled)
        assert await founded(work) == builds(4)[1:]
        assert founder.calls == ["bld-0", "bld-1", "bld-2", "bld-3", "bld-0"]
        (letter,) = await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>")
        assert letter.headers["zw-error-code"] == "timed_out"

    async def test_a_stop_hands_all_of_them_to_the_next(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        held = Held()
        durable = replace(driver.durable, ack_wait=30.0, attempts=1)
        before, after = Founder({"bld-2": [held]}), Founder()
        await driver.bus.publish([started(driver.project, number) for number in range(5)])
        async with driver.running(bound(work, durable, before)):
            await asyncio.wait_for(held.begun.wait(), 20)
        assert await founded(work) == []
        async with driver.running(bound(work, durable, after)):
            await eventually(driver.settled)
        assert await founded(work) == builds(5)
        assert await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>") == []

    async def test_a_stop_hands_on_what_waited_for_another(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        held = Held()
        durable = replace(driver.durable, ack_wait=30.0, attempts=1)
        before, after = Founder({"bld-4": [Later(0, "alone")], "bld-1": [Done(), held]}), Founder()
        await driver.bus.publish([started(driver.project, number) for number in range(5)])
        async with driver.running(bound(work, durable, before)):
            await asyncio.wait_for(held.begun.wait(), 20)
        assert await founded(work) == ["bld-0"]
        async with driver.running(bound(work, durable, after)):
            await eventually(driver.settled)
        assert await founded(work) == builds(5)
        assert await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>") == []

    async def test_none_comes_again_while_the_others_are_handled(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        async def long() -> Outcome:
            await asyncio.sleep(2 * durable.ack_wait)
            return Done()

        durable = replace(driver.durable, ack_wait=1.0)
        founder = Founder({"bld-0": [long]})
        await driver.bus.publish([started(driver.project, number) for number in range(5)])
        async with driver.running(bound(work, durable, founder, concurrency=2)):
            await eventually(driver.settled)
        assert Counter(founder.calls) == Counter(builds(5))
        assert await founded(work) == builds(5)

    async def test_each_is_handled_in_the_thread_of_its_own_causes(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        """What a handler says belongs to the organisation and the causes of its own message."""

        async def handler(tx: Transaction, event: BuildStarted) -> Outcome:
            said = BuildCancelled(build_id=event.build_id, deployment_id="dep")
            tx.emit(said, subject=event.build_id, project_id=ids.new(ids.Prefix.PROJECT))
            return Done()

        sent = {f"bld-{number}": _of_its_own(driver.project, number) for number in range(3)}
        await driver.bus.publish([*sent.values()])
        durable = driver.durable
        binding = Binding(
            durable,
            {BuildStarted: once(work, durable.name, handler)},
            concurrency=1,
            together=OneTransaction(work, durable, durable.name, {BuildStarted: handler}),
        )
        async with driver.running(binding):
            await eventually(driver.settled)
        assert shared(durable, "kept") == 1
        rows = await events_of(work.database, type_=BuildCancelled.event_type)
        assert {
            row.aggregate_id: (
                row.correlation_id,
                row.causation_id,
                row.organisation_id,
                row.headers["traceparent"].split("-")[1],
            )
            for row in rows
        } == {
            build: (
                message.headers["ce-correlationid"],
                message.id,
                message.headers["ce-organisation"],
                message.headers["traceparent"].split("-")[1],
            )
            for build, message in sent.items()
        }

    async def test_nothing_is_said_of_what_was_undone(
        self, driver: Driver, work: UnitOfWork
    ) -> None:
        founder = Founder({"bld-2": [Unavailable("away")]})
        await driver.bus.publish([started(driver.project, number) for number in range(4)])
        async with driver.running(bound(work, driver.durable, founder)):
            await eventually(driver.settled)
        assert shared(driver.durable, "undone") == 1
        assert await founded(work) == builds(4)
        said = await events_of(work.database, type_=OrganisationCreated.event_type)
        assert len(said) == 4


def _of_its_own(project: str, number: int) -> Message:
    """A message of an organisation, a correlation and a trace of its own."""
    build = f"bld-{number}"
    envelope = wrap(
        BuildStarted(build_id=build, deployment_id="dep"),
        subject=build,
        source="test",
        organisation_id=ids.new(ids.Prefix.ORGANISATION),
        project_id=project,
    )
    traced = envelope.model_copy(update={"traceparent": f"00-{number + 1:032x}-{7:016x}-01"})
    return Message.of(traced, f"zw.evt.0.build.started.{project}.{build}")
