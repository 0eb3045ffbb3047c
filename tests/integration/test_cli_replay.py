"""`zeitwork events replay|timeline|rebuild` against the real API, log and consumers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from cli.exits import Exit
from db.models import Operation, RoutingCache
from db.session import UnitOfWork
from events.nodes import NodeReady
from tests.support.api import Api
from tests.support.cli import Cli, problem
from tests.support.factories import Conveyor, Site, Version, every
from tests.support.running import Backbone, backbone, digests, running_site
from zeitwork import context

_MORE_THAN_A_PAGE = 501
_READING = "Reading the log …"
_UNKNOWN = "dep_00000000000000000000000000"


@pytest.fixture
def cli(api: Api) -> Cli:
    return Cli.of(api)


@pytest.fixture
async def served(work: UnitOfWork) -> tuple[Site, Version]:
    """A site that serves, and the version that it serves."""
    site, version, _ = await running_site(work, Conveyor(work))
    return site, version


@pytest.fixture
async def operator(own_nats_url: str, work: UnitOfWork) -> AsyncIterator[Backbone]:
    """Carries operations out."""
    async with backbone(own_nats_url, work) as found:
        yield found


async def emit_many(work: UnitOfWork, **cause: str) -> None:
    with context.bind(**cause):
        async with work.transaction() as tx:
            for number in range(_MORE_THAN_A_PAGE):
                tx.emit(NodeReady(node_id=f"n{number}"), subject=f"n{number}")


async def damage(work: UnitOfWork, statement: str) -> None:
    async with work.transaction() as tx:
        await tx.session.execute(text(statement))


async def break_activations(work: UnitOfWork) -> None:
    """No handler can read them any more."""
    await damage(work, "UPDATE event_log SET payload = '{}' WHERE type = 'deployment.activated'")


async def test_an_empty_window_says_so(cli: Cli, operator: Backbone) -> None:
    printed = await cli("events", "replay")
    assert (printed.code, printed.out) == (Exit.UNEXPECTED, "")
    assert "The window holds no event." in printed.err
    for mode in ("--dry-run", "--again"):
        done = await cli("events", "replay", "--to", "routing-v1", mode, "--yes")
        assert (done.code, done.out) == (Exit.UNEXPECTED, "")
        assert "The window holds no event that routing-v1 takes." in done.err


@pytest.mark.parametrize("mode", ["--dry-run", "--again"])
async def test_a_failed_event_is_an_exit_code(
    cli: Cli, work: UnitOfWork, served: tuple[Site, Version], operator: Backbone, mode: str
) -> None:
    command = ("events", "replay", "--to", "routing-v1", mode, "--yes", "--type", "deployment.*")
    well = await cli(*command)
    assert well.code == Exit.OK, well.err
    await break_activations(work)
    failed = await cli(*command)
    assert failed.code == Exit.UNEXPECTED
    assert "→ failed" in failed.out
    assert "1 failed" in failed.err
    scripted = await cli(*command, "--json")
    assert scripted.code == Exit.UNEXPECTED
    assert json.loads(scripted.out)["outcomes"]["failed"] == 1


async def test_no_to_a_replay_asks_for_nothing(
    cli: Cli, work: UnitOfWork, served: tuple[Site, Version]
) -> None:
    before = await digests(work)
    done = await cli("events", "replay", "--to", "routing-v1", "--again", typed="n\n")
    assert (done.code, done.out) == (Exit.INTERRUPTED, "")
    assert "routing-v1 will take these events for real, once more." in done.err
    assert "Nothing was done." in done.err
    assert await digests(work) == before


async def test_where_nobody_can_be_asked_a_replay_wants_yes(cli: Cli, work: UnitOfWork) -> None:
    done = await cli("events", "replay", "--to", "routing-v1", "--again", "--json")
    assert done.code == Exit.USAGE
    assert "--yes" in problem(done)["detail"]
    assert await every(work, Operation) == []


async def test_the_timeline_of_an_unknown_deployment_is_not_found(cli: Cli) -> None:
    for named in (_UNKNOWN, "nobody"):
        done = await cli("events", "timeline", named, "--json")
        assert done.code == Exit.NOT_FOUND
        assert problem(done)["code"] == "not_found"


async def test_a_rebuild_shows_the_difference_and_asks(
    cli: Cli, work: UnitOfWork, served: tuple[Site, Version], operator: Backbone
) -> None:
    host = served[0].environment.host
    (right,) = await every(work, RoutingCache)
    await damage(work, "UPDATE routing_cache SET targets = '[]'")

    refused = await cli("events", "rebuild", "routing", typed="n\n")
    assert refused.code == Exit.INTERRUPTED
    assert refused.out.startswith(f"~ {host}\n    targets: [] → ")
    assert "Write this?" in refused.err
    assert "Nothing was written." in refused.err
    (row,) = await every(work, RoutingCache)
    assert row.targets == []

    agreed = await cli("events", "rebuild", "routing", typed="y\n")
    assert (agreed.code, agreed.out) == (Exit.OK, refused.out)
    assert "Written: 0 added, 1 changed, 0 removed." in agreed.err
    (row,) = await every(work, RoutingCache)
    assert row.targets == right.targets

    again = await cli("events", "rebuild", "routing")  # with no difference nobody is asked
    assert (again.code, again.out) == (Exit.OK, "")
    assert "routing_cache is what it should be." in again.err


async def test_reading_more_than_a_page_shows_progress(cli: Cli, work: UnitOfWork) -> None:
    await emit_many(work)
    page = await cli("events", "replay")
    assert (page.code, page.out.count("\n"), _READING in page.err) == (Exit.OK, 100, False)
    assert "The first 100;" in page.err
    whole = await cli("events", "replay", "--limit", "1000")
    assert (whole.code, whole.out.count("\n")) == (Exit.OK, _MORE_THAN_A_PAGE)
    assert whole.err.splitlines() == [_READING]
    scripted = await cli("events", "replay", "--limit", "1000", "--json")
    assert (len(json.loads(scripted.out)), scripted.err) == (_MORE_THAN_A_PAGE, "")


async def test_a_long_timeline_shows_progress(
    cli: Cli, work: UnitOfWork, served: tuple[Site, Version]
) -> None:
    deployment = served[1].deployment
    short = await cli("events", "timeline", deployment.id)
    assert (short.code, _READING in short.err) == (Exit.OK, False)
    await emit_many(work, correlation_id=deployment.correlation_id)
    long = await cli("events", "timeline", deployment.id)
    assert (long.code, long.err.count(_READING)) == (Exit.OK, 1)
    assert long.out.count("\n") == short.out.count("\n") + _MORE_THAN_A_PAGE
