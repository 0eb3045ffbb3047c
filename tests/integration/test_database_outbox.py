"""The outbox: written with the rows or not at all, claimed once, in the order of each aggregate."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Coroutine
from typing import Any

import pytest
from sqlalchemy import func, select, text

from db import inbox, outbox
from db.engine import Database
from db.models import Project
from db.models.outbox import EventLog, Inbox, Outbox
from db.queries.projects import environment_lock
from db.session import Take, Transaction, UnitOfWork
from events.builds import BuildRequested
from events.bus import Message
from events.event import MAX_EVENT_BYTES
from events.github import PushReceived
from events.nodes import NodeReady
from tests.support.database import execute
from tests.support.factories import Site, add_site, events_of, push
from zeitwork import ids
from zeitwork.errors import BodyTooLarge, BrokerUnavailable, Conflict

WRITERS = 12
PER_WRITER = 4


class Boom(Exception):
    """Something goes wrong in the middle of a transaction."""


def emit(tx: Transaction, number: int = 1) -> str:
    """An event; its id."""
    node_id = ids.new(ids.Prefix.NODE)
    return tx.emit(NodeReady(node_id=node_id), subject=node_id, version=number).id


async def fail_after_emitting(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        emit(tx)
        raise Boom


async def add_twin(work: UnitOfWork, project: Project) -> None:
    """Emit, and add another project of the same slug."""
    async with work.transaction() as tx:
        emit(tx)
        twin = Project(
            id=ids.new(ids.Prefix.PROJECT),
            organisation_id=project.organisation_id,
            slug=project.slug,
            name="twin",
        )
        tx.session.add(twin)


async def stored(database: Database) -> tuple[int, int]:
    """Rows in the log and in the outbox."""
    async with database.read() as session:
        logged = (await session.execute(select(func.count()).select_from(EventLog))).scalar_one()
        waiting = (await session.execute(select(func.count()).select_from(Outbox))).scalar_one()
        return logged, waiting


async def claimed(work: UnitOfWork, most: int = 1000) -> list[Message]:
    async with work.transaction() as tx:
        return await claim(tx, most)


async def claim(tx: Transaction, most: int) -> list[Message]:
    return [row.message for row in await outbox.claim(tx.direct, "ZW_EVENTS", most=most)]


async def write(work: UnitOfWork, site: Site) -> None:
    """Change an environment once, and say so with the version that it then has."""
    async with work.transaction() as tx:
        environment = await environment_lock(tx.session, site.environment.id)
        environment.last_number += 1
        said = NodeReady(node_id="any")
        tx.emit(said, subject=environment.id, version=environment.version + 1)


async def test_an_event_comes_out_as_it_was_emitted(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        said = tx.emit(push(ids.new(ids.Prefix.DELIVERY)).data, subject="dlv", version=3)
    (message,) = await claimed(work)
    assert message == Message.of(said, message.subject)
    assert isinstance(said.data, PushReceived)
    assert message.subject.endswith(".push.received.none.dlv")
    assert await stored(work.database) == (1, 0)


async def test_a_transaction_that_fails_says_nothing(work: UnitOfWork) -> None:
    with pytest.raises(Boom):
        await fail_after_emitting(work)
    async with work.transaction() as tx:
        emit(tx)
        tx.discard()
    site = await add_site(work)
    before = await stored(work.database)
    with pytest.raises(Conflict):
        await add_twin(work, site.project)
    assert await stored(work.database) == before


async def test_an_event_that_no_stream_takes_is_refused_before_it_is_stored(
    work: UnitOfWork,
) -> None:
    said = push(ids.new(ids.Prefix.DELIVERY), commit_message="x" * MAX_EVENT_BYTES).data

    async def say() -> None:
        async with work.transaction() as tx:
            emit(tx)
            tx.emit(said, subject="dlv")

    with pytest.raises(BodyTooLarge):
        await say()
    assert await stored(work.database) == (0, 0)


async def test_nothing_wakes_the_relay_before_the_commit_or_without_events(
    database: Database,
) -> None:
    seen: list[tuple[int, int]] = []

    async def wake(streams: Collection[str]) -> None:
        assert streams == {"ZW_EVENTS"}
        seen.append(await stored(database))
        raise BrokerUnavailable("nobody hears it")  # the relay polls as well

    work = UnitOfWork(database, wake=wake)
    async with work.transaction():
        pass
    with pytest.raises(Boom):
        await fail_after_emitting(work)
    async with work.transaction() as tx:
        emit(tx)
        assert seen == []
    assert seen == [(1, 1)]


async def test_events_of_an_aggregate_are_in_the_order_of_its_versions(work: UnitOfWork) -> None:
    sites = [await add_site(work) for _ in range(3)]
    await claimed(work)
    published: list[Message] = []
    done = asyncio.Event()

    async def relay() -> None:
        while not done.is_set():
            published.extend(await claimed(work, 3))
            await asyncio.sleep(0)

    async def writer(number: int) -> None:
        for turn in range(PER_WRITER):
            await write(work, sites[(number + turn) % len(sites)])

    relaying = asyncio.create_task(relay())
    await asyncio.gather(*(writer(number) for number in range(WRITERS)))
    done.set()
    await relaying
    published += await claimed(work)
    versions: dict[str, list[int]] = defaultdict(list)
    for message in published:
        subject = message.headers["ce-subject"]
        versions[subject].append(int(message.headers["ce-aggregateversion"]))
    assert sum(map(len, versions.values())) == WRITERS * PER_WRITER
    for found in versions.values():
        assert found == list(range(2, 2 + len(found)))


@pytest.mark.parametrize("first_commits", [True, False])
async def test_a_second_claimer_waits_and_overtakes_nothing(
    work: UnitOfWork, *, first_commits: bool
) -> None:
    async with work.transaction() as tx:
        written = [emit(tx, number) for number in range(10)]
    async with asyncio.TaskGroup() as group, work.transaction() as one:
        first = await claim(one, 4)
        second = group.create_task(claimed(work, 100))
        await _somebody_waits(work.database)
        one.discarded = not first_commits
    assert [message.id for message in first] == written[:4]
    assert [message.id for message in second.result()] == written[4 if first_commits else 0 :]
    assert await claimed(work) == []


async def test_a_claim_takes_the_events_of_one_stream(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        fact = emit(tx)
        job = tx.emit(BuildRequested(build_id="bld", deployment_id="dep"), subject="bld")
        other = emit(tx)
    async with work.transaction() as tx:
        jobs = await outbox.claim(tx.direct, "ZW_JOBS", most=10)
    assert [row.message.id for row in jobs] == [job.id]
    assert [message.id for message in await claimed(work)] == [fact, other]


async def test_a_claim_that_is_not_committed_is_there_again_for_the_next(work: UnitOfWork) -> None:
    async with work.transaction() as tx:
        written = [emit(tx, number) for number in range(5)]

    async def fail_to_publish() -> None:
        async with work.transaction() as tx:
            assert len(await claim(tx, 3)) == 3
            raise Boom

    with pytest.raises(Boom):
        await fail_to_publish()
    assert [message.id for message in await claimed(work, 2)] == written[:2]
    assert [message.id for message in await claimed(work)] == written[2:]


@pytest.mark.parametrize("plan", ["chosen by PostgreSQL", "nested loops"])
async def test_a_claim_takes_no_more_than_it_is_asked_for(work: UnitOfWork, plan: str) -> None:
    """Statistics of an outbox that was empty a moment ago may lead to any plan."""
    async with work.transaction() as tx:
        for number in range(500):
            emit(tx, number)
    async with work.transaction() as tx:
        if plan == "nested loops":
            for method in ("hashagg", "hashjoin", "mergejoin", "sort", "material"):
                await tx.session.execute(text(f"SET LOCAL enable_{method} = off"))
        assert len(await claim(tx, 20)) == 20
    assert (await stored(work.database))[1] == 480


async def test_the_backlog_is_what_waits(work: UnitOfWork) -> None:
    async with work.database.read() as session:
        assert await outbox.backlog(session) == {}
    async with work.transaction() as tx:
        first, _ = (tx.emit(NodeReady(node_id="n"), subject="n") for _ in range(2))
        job = tx.emit(BuildRequested(build_id="bld", deployment_id="dep"), subject="bld")
    async with work.database.read() as session:
        assert await outbox.backlog(session) == {
            "ZW_EVENTS": outbox.Backlog(2, first.time),
            "ZW_JOBS": outbox.Backlog(1, job.time),
        }


async def test_of_concurrent_deliveries_one_takes_effect(work: UnitOfWork) -> None:
    event_id = ids.new(ids.Prefix.EVENT)

    async def handle(consumer: str) -> bool:
        async with work.transaction(take=Take(consumer, [event_id])) as tx:
            if tx.first_time:
                emit(tx)
            return tx.first_time

    answers = await asyncio.gather(*(handle(f"c{number % 2}") for number in range(10)))
    assert sum(answers) == 2  # once for each consumer
    assert len(await events_of(work.database)) == 2


@pytest.mark.parametrize("ending", ["commit", "discard", "failure"])
async def test_an_event_taken_with_the_begin_stays_taken_only_if_the_transaction_commits(
    work: UnitOfWork, ending: str
) -> None:
    take = Take("c", [ids.new(ids.Prefix.EVENT)])

    async def handle() -> bool:
        async with work.transaction(take=take) as tx:
            if ending == "discard":
                tx.discard()
            if ending == "failure":
                raise Boom
            return tx.first_time

    first, second = [await _outcome(handle()) for _ in range(2)]
    expected = {"commit": (True, False), "discard": (True, True), "failure": ("Boom", "Boom")}
    assert (first, second) == expected[ending]
    async with work.transaction(take=take) as tx:
        assert tx.first_time is (ending != "commit")


async def test_of_concurrent_takers_one_is_the_first(work: UnitOfWork) -> None:
    take = Take("c", [ids.new(ids.Prefix.EVENT)])

    async def handle() -> bool:
        async with work.transaction(take=take) as tx:
            return tx.first_time

    assert sum(await asyncio.gather(*(handle() for _ in range(10)))) == 1


async def test_of_several_events_each_new_one_is_claimed_once(work: UnitOfWork) -> None:
    old, new, twice = (ids.new(ids.Prefix.EVENT) for _ in range(3))
    async with work.transaction(take=Take("c", [old])):
        pass
    async with work.transaction(take=Take("c", [old, new, twice, twice])) as tx:
        claims = [tx.claims(event_id) for event_id in (old, new, twice, twice)]
    assert claims == [False, True, True, False]


@pytest.mark.parametrize("consumer", ["", "a b", "c'); DROP TABLE inbox; --", "x" * 65])
async def test_a_consumer_that_is_no_durables_name_takes_nothing(
    work: UnitOfWork, consumer: str
) -> None:
    with pytest.raises(ValueError, match="no durable's name"):
        async with work.transaction(take=Take(consumer, [ids.new(ids.Prefix.EVENT)])):
            raise AssertionError("let in")


async def _outcome(handling: Coroutine[Any, Any, bool]) -> bool | str:
    try:
        return await handling
    except Boom as error:
        return type(error).__name__


async def test_a_delivery_that_failed_leaves_the_event_to_the_one_that_waited(
    work: UnitOfWork,
) -> None:
    take = Take("c", [ids.new(ids.Prefix.EVENT)])
    noted = asyncio.Event()

    async def failing() -> None:
        async with work.transaction(take=take) as tx:
            assert tx.first_time
            noted.set()
            await _somebody_waits(work.database)
            raise Boom

    async def waiting() -> bool:
        await noted.wait()
        async with work.transaction(take=take) as tx:
            return tx.first_time

    failed, second = await asyncio.gather(failing(), waiting(), return_exceptions=True)
    assert isinstance(failed, Boom)
    assert second is True


async def test_the_inbox_forgets_only_what_is_old_enough(
    work: UnitOfWork, migrated_url: str
) -> None:
    old, new = ids.new(ids.Prefix.EVENT), ids.new(ids.Prefix.EVENT)
    async with work.transaction(take=Take("c", [old, new])):
        pass
    uuid = ids.to_uuid(ids.Prefix.EVENT, old)
    execute(
        migrated_url,
        f"UPDATE inbox SET processed_at = now() - interval '15 days' WHERE event_id = '{uuid}'",
    )
    async with work.transaction() as tx:
        row = (await tx.session.execute(select(Inbox).where(Inbox.event_id == new))).scalar_one()
        await inbox.purge(tx.session, row.processed_at)
    async with work.transaction(take=Take("c", [old, new])) as tx:
        assert (tx.claims(old), tx.claims(new)) == (True, False)


async def _somebody_waits(database: Database) -> None:
    blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    async with asyncio.timeout(10), database.read() as session:
        while (await session.execute(blocked)).scalar_one() == 0:
            await asyncio.sleep(0.01)
