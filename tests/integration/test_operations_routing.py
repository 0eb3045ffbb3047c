"""A corrupted routing_cache: the difference is shown first, and healed when asked."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from consumers.operations.rebuild_routing import RoutingRebuilder
from db.models import RoutingCache
from db.session import UnitOfWork
from events.envelope import unwrap
from events.operation_params import RebuildRoutingParams
from events.routes import CACHE_TABLE, RouteChanged, RouteRemoved
from proxy.table import RoutingTable
from tests.support.factories import Conveyor, Site, add_site, events_of, every
from tests.support.running import backbone, digests, running_site
from zeitwork.cache import MemoryCache


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    found, _, _ = await running_site(work, Conveyor(work))
    return found


async def rebuild(
    work: UnitOfWork, *, apply: bool = False, cache: MemoryCache | None = None
) -> dict[str, Any]:
    rebuilder = RoutingRebuilder(work, cache=cache or MemoryCache(), drain_seconds=5.0)
    return dict(await rebuilder.run("opr", RebuildRoutingParams(apply=apply)))


async def corrupt(work: UnitOfWork, statement: str) -> None:
    async with work.transaction() as tx:
        await tx.session.execute(text(statement))


async def rows(work: UnitOfWork) -> dict[str, RoutingCache]:
    return {row.host: row for row in await every(work, RoutingCache)}


async def as_a_proxy_sees_it(work: UnitOfWork) -> RoutingTable:
    """The table of a proxy that has heard every route event since the beginning."""
    table = RoutingTable()
    for row in await events_of(work.database):
        event = unwrap(row.headers, row.payload).data
        if isinstance(event, RouteChanged | RouteRemoved):
            table = table.apply(event)
    return table


async def test_a_right_table_has_no_difference(work: UnitOfWork, site: Site) -> None:
    found = await rebuild(work)
    assert (found["added"], found["changed"], found["removed"]) == ([], [], [])


async def test_without_apply_nothing_is_written(work: UnitOfWork, site: Site) -> None:
    await corrupt(work, "UPDATE routing_cache SET targets = '[]'")
    before = await digests(work)
    (changed,) = (await rebuild(work))["changed"]
    assert changed["host"] == site.environment.host
    assert changed["before"] == {"targets": []}
    assert len(changed["after"]["targets"]) == 1
    assert await digests(work) == before


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE routing_cache SET targets = '[]'", "changed"),
        ("""UPDATE routing_cache SET targets = '[{"no": "target"}]'""", "changed"),
        ("UPDATE routing_cache SET deployment_id = NULL", "changed"),
        ("UPDATE routing_cache SET version = 0", "changed"),
        ("DELETE FROM routing_cache", "added"),
    ],
    ids=["targets", "no target", "deployment", "version", "row gone"],
)
async def test_each_corruption_is_shown_and_healed_for_those_who_follow_too(
    work: UnitOfWork, site: Site, statement: str, what: str
) -> None:
    host = site.environment.host
    right = (await rows(work))[host]
    await corrupt(work, statement)
    found = await rebuild(work, apply=True)
    assert [entry["host"] for entry in found[what]] == [host]
    healed = (await rows(work))[host]
    assert (healed.targets, healed.deployment_id) == (right.targets, right.deployment_id)
    assert healed.version > right.version
    # A proxy that knows the old version takes the new one.
    seen = (await as_a_proxy_sees_it(work)).row(host)
    assert seen is not None
    assert seen.version == healed.version
    again = await rebuild(work)
    assert (again["added"], again["changed"], again["removed"]) == ([], [], [])


async def test_a_host_of_no_environment_is_removed_everywhere(work: UnitOfWork, site: Site) -> None:
    ghost = await _ghost(work)
    cache = MemoryCache()
    await cache.put(CACHE_TABLE, ghost, version=5, value=b"{}")
    found = await rebuild(work, apply=True, cache=cache)
    assert [entry["host"] for entry in found["removed"]] == [ghost]
    assert set(await rows(work)) == {site.environment.host}
    assert set(await cache.records(CACHE_TABLE)) == {site.environment.host}
    (removed,) = await events_of(work.database, type_="route.removed")
    assert removed.aggregate_version == 6
    found = await rebuild(work)
    assert (found["added"], found["changed"], found["removed"]) == ([], [], [])


async def test_an_operation_shows_first_and_writes_when_told(
    nats_url: str, work: UnitOfWork
) -> None:
    site, _, _ = await running_site(work, Conveyor(work))
    await add_site(work)  # its row is still to be made
    right = (await rows(work))[site.environment.host]
    await corrupt(work, "UPDATE routing_cache SET targets = '[]'")
    async with backbone(nats_url, work) as running:
        shown = await running.carried_out("rebuild-routing")
        assert (len(shown.report["changed"]), len(shown.report["added"])) == (1, 1)
        assert (await rows(work))[site.environment.host].targets == []
        written = await running.carried_out("rebuild-routing", apply=True)
        assert written.report["changed"] == shown.report["changed"]
        assert (await rows(work))[site.environment.host].targets == right.targets
        assert len(await rows(work)) == 2


async def _ghost(work: UnitOfWork) -> str:
    """A row for a host that no environment has."""
    await corrupt(
        work,
        "INSERT INTO routing_cache (host, organisation_id, project_id, environment_id, "
        "deployment_id, targets, version, updated_at) SELECT 'ghost.test', organisation_id, "
        "project_id, environment_id, deployment_id, targets, 5, updated_at FROM routing_cache",
    )
    return "ghost.test"
