"""Transactions that are taken back, and what the record of each says."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, insert, text, update

from db.models import Environment, Node, Project, RoutingCache
from db.rehearsal import Change, Rehearsal
from db.session import UnitOfWork
from tests.support.factories import Conveyor, Site, add_node, add_site, fetch
from tests.support.running import digests, running_site
from zeitwork import ids
from zeitwork.errors import Conflict


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work)


@pytest.fixture
def rehearsal(work: UnitOfWork) -> Rehearsal:
    return Rehearsal(work.database)


def kinds(rehearsal: Rehearsal) -> list[tuple[str, bool, bool]]:
    """Table, whether the row was there before, and whether it would be there after."""
    return [(c.table, c.before is not None, c.after is not None) for c in rehearsal.changes]


async def test_orm_core_and_plain_sql_are_all_found(
    work: UnitOfWork, rehearsal: Rehearsal, site: Site
) -> None:
    before = await digests(work)
    async with rehearsal.transaction() as tx:
        project = await tx.session.get_one(Project, site.project.id)
        project.name = "by the ORM"
        await tx.session.execute(
            update(Environment).where(Environment.id == site.environment.id).values(replicas=7)
        )
        await tx.session.execute(text("UPDATE organisations SET name = 'by hand'"))
    by_table = {change.table: change for change in rehearsal.changes}
    assert by_table.keys() == {"projects", "environments", "organisations"}
    assert by_table["projects"].key == {"id": site.project.id}
    assert by_table["projects"].differences()["name"] == (site.project.name, "by the ORM")
    assert by_table["environments"].differences() == {"replicas": (1, 7)}
    assert by_table["organisations"].key == {"id": site.organisation_id}
    assert await digests(work) == before


async def test_what_a_savepoint_wrote_is_found_and_what_it_took_back_is_not(
    rehearsal: Rehearsal, site: Site
) -> None:
    async with rehearsal.transaction() as tx:
        project = await tx.session.get_one(Project, site.project.id)
        async with tx.session.begin_nested():
            project.name = "kept"
            await tx.session.flush()
            async with tx.session.begin_nested():
                await tx.session.execute(text("UPDATE environments SET replicas = 7"))
        undone = await tx.session.begin_nested()
        await tx.session.execute(text("UPDATE organisations SET name = 'undone'"))
        await undone.rollback()
    assert kinds(rehearsal) == [("projects", True, True), ("environments", True, True)]


async def test_a_savepoint_alone_is_found(rehearsal: Rehearsal, site: Site) -> None:
    async with rehearsal.transaction() as tx, tx.session.begin_nested():
        await tx.session.execute(text("UPDATE environments SET replicas = 7"))
    assert kinds(rehearsal) == [("environments", True, True)]


async def test_inserts_and_deletions_are_found(
    work: UnitOfWork, rehearsal: Rehearsal, site: Site
) -> None:
    node_id = await add_node(work, "goes")
    new = ids.new(ids.Prefix.NODE)
    async with rehearsal.transaction() as tx:
        gone = await tx.session.get_one(Node, node_id)
        values = {column.name: getattr(gone, column.name) for column in Node.__table__.columns}
        await tx.session.execute(delete(Node).where(Node.id == node_id))
        await tx.session.execute(insert(Node).values(values | {"id": new, "name": "comes"}))
    changes = {change.key["id"]: change for change in rehearsal.changes}
    assert changes.keys() == {new, node_id}
    assert (changes[new].before, changes[node_id].after) == (None, None)
    before = changes[node_id].before
    assert before is not None
    assert before["name"] == "goes"


async def test_a_row_deleted_in_a_savepoint_is_found(
    work: UnitOfWork, rehearsal: Rehearsal
) -> None:
    node_id = await add_node(work)
    async with rehearsal.transaction() as tx:
        await tx.session.execute(text("SELECT FROM nodes FOR UPDATE"))
        async with tx.session.begin_nested():
            await tx.session.execute(text("DELETE FROM nodes"))
    assert [(change.key, change.after) for change in rehearsal.changes] == [({"id": node_id}, None)]


async def test_a_lock_is_no_change(rehearsal: Rehearsal, site: Site) -> None:
    async with rehearsal.transaction() as tx:
        await tx.session.execute(text("SELECT FROM projects FOR UPDATE"))
    assert rehearsal.changes == []


async def test_what_others_commit_meanwhile_is_not_ours(
    work: UnitOfWork, rehearsal: Rehearsal, site: Site
) -> None:
    doomed = await add_node(work, "doomed")
    spared = await add_node(work, "spared")
    async with rehearsal.transaction() as tx:
        await tx.session.execute(text("UPDATE projects SET name = 'ours'"))
        async with work.transaction() as other:
            await other.session.execute(text("UPDATE organisations SET name = 'theirs'"))
            await other.session.execute(delete(Node).where(Node.id == doomed))
        await tx.session.execute(delete(Node).where(Node.id == spared))
    assert [(change.table, change.key["id"]) for change in rehearsal.changes] == [
        ("projects", site.project.id),
        ("nodes", spared),
    ]


async def test_what_a_handler_discards_is_not_recorded(rehearsal: Rehearsal, site: Site) -> None:
    async with rehearsal.transaction() as tx:
        await tx.session.execute(text("UPDATE projects SET name = 'x'"))
        tx.discard()
    assert (rehearsal.changes, rehearsal.emitted) == ([], [])


async def test_a_broken_rule_shows_as_it_would_for_real(
    work: UnitOfWork, rehearsal: Rehearsal, site: Site
) -> None:
    other = await add_site(work, organisation_id=site.organisation_id)

    async def take_a_taken_slug() -> None:
        async with rehearsal.transaction() as tx:
            project = await tx.session.get_one(Project, other.project.id)
            project.slug = site.project.slug

    with pytest.raises(Conflict):
        await take_a_taken_slug()
    assert (await fetch(work, Project, other.project.id)).slug == other.project.slug


async def test_nothing_is_called_after_a_rehearsal(rehearsal: Rehearsal, site: Site) -> None:
    called: list[str] = []
    async with rehearsal.transaction() as tx:
        tx.on_commit(lambda: called.append("once"))
    assert called == []


async def test_keys_that_are_no_ids_are_found_too(work: UnitOfWork, rehearsal: Rehearsal) -> None:
    site, _, _ = await running_site(work, Conveyor(work))
    async with rehearsal.transaction() as tx:
        await tx.session.execute(update(RoutingCache).values(targets=[]))
    (change,) = rehearsal.changes
    assert isinstance(change, Change)
    assert change.key == {"host": site.environment.host}
    assert change.differences().keys() == {"targets"}
