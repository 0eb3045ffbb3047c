"""The outbox's gauge: readiness, metrics, and the bound of what is taken in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.engine import Database
from db.models import Node, Organisation, WebhookDelivery
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.nodes import NodeReady
from tests.support.api import NODE_TOKEN, Api, assert_problem, deliver, dependencies, serving
from tests.support.database import execute
from tests.support.eventually import eventually
from tests.support.factories import every
from tests.support.relay import is_empty, relaying
from zeitwork import metrics

BOUND = 6
NODE = {
    "name": "one",
    "address": "127.0.0.1",
    "runtime": "process",
    "architecture": "x86_64",
    "cpu_millis": 4000,
    "memory_mib": 8192,
}


@pytest.fixture
async def api(work: UnitOfWork, bus: MemoryBus, tmp_path: Path, traces: None) -> AsyncIterator[Api]:
    limits = {"outbox_max_rows": BOUND, "outbox_max_age_seconds": 30}
    async with serving(dependencies(work, bus, tmp_path, api=limits)) as served:
        yield served


async def say(work: UnitOfWork, count: int) -> None:
    async with work.transaction() as tx:
        for number in range(count):
            tx.emit(NodeReady(node_id=f"n{number}"), subject=f"n{number}")


async def test_at_the_bound_nothing_is_taken_in_until_there_is_room(
    api: Api, work: UnitOfWork, database: Database, bus: MemoryBus
) -> None:
    gauge = api.deps.outbox
    await say(UnitOfWork(database), BOUND)  # another process's: unseen until the next look
    assert (await deliver(api)).status == 202
    await gauge.look()
    for answer in (
        await api.post("/organisations", {"slug": "acme", "name": "Acme"}),
        await deliver(api, guid="another"),
        await deliver(api, guid="another", signature="sha256=bad"),
    ):
        problem = assert_problem(answer, 503, "outbox_full")
        assert problem["retryable"] is True
        assert int(answer.headers["Retry-After"]) > 1
    assert await every(work, Organisation) == []
    assert "another" not in [each.guid for each in await every(work, WebhookDelivery)]
    # What reads, and the machines and handlers that work it off, go on.
    assert (await api.get("/organisations")).status == 200
    assert (await api.post("/nodes", NODE, token=NODE_TOKEN)).status in {200, 201}
    assert len(await every(work, Node)) == 1
    await say(work, 1)
    async with relaying(bus, work):
        await eventually(lambda: is_empty(database))
    await gauge.look()
    assert (await api.post("/organisations", {"slug": "acme", "name": "Acme"})).status == 201
    assert (await deliver(api, guid="another")).status == 202


async def test_between_looks_what_this_process_emits_counts(api: Api, database: Database) -> None:
    await api.deps.outbox.look()
    answers = [await deliver(api, guid=f"guid-{number}") for number in range(BOUND + 2)]
    assert [answer.status for answer in answers] == [202] * BOUND + [503] * 2
    await api.deps.outbox.look()
    assert (await deliver(api, guid="late")).status == 503


async def test_a_caller_without_a_token_is_told_that_first(api: Api, database: Database) -> None:
    await say(UnitOfWork(database), BOUND)
    await api.deps.outbox.look()
    assert_problem(await api.post("/organisations", {}, token=None), 401, "unauthenticated")


async def test_readiness_falls_over_an_old_event_and_comes_back(
    api: Api, work: UnitOfWork, database: Database, bus: MemoryBus, migrated_url: str
) -> None:
    gauge = api.deps.outbox
    await gauge.start()
    try:
        await eventually(lambda: depth() == 0)
        await say(work, 2)
        await eventually(lambda: depth() == 2)
        assert await gauge.ready() is None
        # Its time is part of its key in the log too.
        age = "UPDATE {} SET created_at = created_at - interval '1 minute'"
        execute(migrated_url, age.format("event_log"), tenant="*")
        execute(migrated_url, age.format("outbox"))
        reason = await eventually(gauge.ready)
        assert reason is not None
        assert reason.startswith("2 events wait for ZW_EVENTS, the oldest for 6")
        assert reason.endswith(" s (limit 30 s)")
        oldest = metrics.REGISTRY.get_sample_value(
            "zeitwork_outbox_oldest_age_seconds", {"stream": "ZW_EVENTS"}
        )
        assert oldest is not None
        assert oldest > 60
        async with relaying(bus, work):
            await eventually(lambda: is_empty(database))
        await eventually(lambda: depth() == 0)
        assert await gauge.ready() is None
    finally:
        await gauge.stop()


def depth() -> float | None:
    return metrics.REGISTRY.get_sample_value("zeitwork_outbox_depth", {"stream": "ZW_EVENTS"})
