"""Replays on real servers: a dry one changes nothing, a real one takes effect once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import text

from cli.embedded.nats import NatsServer
from consumers.operations.replay import Replayer
from consumers.registry import bindings
from db.models import Build, Deployment, EventLog, Inbox, RoutingCache
from db.session import UnitOfWork
from events.bus import Message
from events.memory import MemoryBus
from events.operation_params import ReplayParams
from events.states import OperationState
from events.streams import JOBS, ROUTING
from tests.support.eventually import eventually
from tests.support.factories import Conveyor, Site, events_of, every
from tests.support.running import Backbone, backbone, deliver_push, digests, running_site, wiring
from tests.support.servers import ServerHost, free_port
from zeitwork.cache import MemoryCache
from zeitwork.errors import NotFound

# An operation's own rows, and what it says about itself.
_ITS_OWN = ("event_log", "operations", "outbox")


@pytest.fixture(scope="module")
def own_nats(server_host: ServerHost) -> Iterator[str]:
    def make() -> NatsServer:
        directory = server_host.directory / "nats-replay"
        return NatsServer(directory, port=free_port(), monitor_port=free_port())

    with server_host.running(make) as server:
        yield server.url.get_secret_value()


@pytest.fixture
async def running(own_nats: str, work: UnitOfWork) -> AsyncIterator[Backbone]:
    async with backbone(own_nats, work) as found:
        yield found


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    """A site that serves."""
    found, _, _ = await running_site(work, Conveyor(work))
    return found


async def blank_route(work: UnitOfWork) -> None:
    """As if nobody had ever pointed the host at the instance."""
    async with work.transaction() as tx:
        await tx.session.execute(text("UPDATE routing_cache SET targets = '[]'"))


async def dry(work: UnitOfWork, consumer: str, **params: Any) -> Any:
    wired = wiring(work, MemoryBus(), cache=params.pop("cache", MemoryCache()))
    checked = ReplayParams(mode="dry", consumer=consumer, **params)
    return await Replayer(wired, bindings).run("opr_of_a_test", checked)


async def test_a_dry_run_changes_no_row_of_any_table(running: Backbone, site: Site) -> None:
    work = running.work
    await blank_route(work)
    before = await digests(work, without=_ITS_OWN)
    log_before = len(await events_of(work.database))
    for consumer in ("github-v1", "deployments-v1", "scheduling-v1", "routing-v1", "instances-v1"):
        ended = await running.carried_out("replay", mode="dry", consumer=consumer)
        assert ended.state is OperationState.SUCCEEDED, ended.error_detail
    assert await digests(work, without=_ITS_OWN) == before
    own = [row.type for row in (await events_of(work.database))[log_before:]]
    assert sorted(set(own)) == ["operation.finished", "operation.requested"]


async def test_the_runner_itself_leaves_not_even_a_mark(work: UnitOfWork, site: Site) -> None:
    await blank_route(work)
    before = await digests(work)
    report = await dry(work, "routing-v1")
    assert report["matched"] > 0
    assert await digests(work) == before


async def test_a_dry_run_says_what_would_be_written_and_emitted(
    work: UnitOfWork, site: Site
) -> None:
    (row,) = await every(work, RoutingCache)
    await blank_route(work)
    report = await dry(work, "routing-v1", type="deployment.activated")
    (event,) = report["events"]
    assert (report["matched"], report["more"], event["outcome"]) == (1, False, "done")
    (written,) = event["rows"]
    updated_at = written["columns"].pop("updated_at")
    assert updated_at["before"] != updated_at["after"]
    assert written == {
        "table": "routing_cache",
        "key": {"host": site.environment.host},
        "what": "update",
        "columns": {
            "targets": {"before": [], "after": row.targets},
            "version": {"before": row.version, "after": row.version + 1},
        },
    }
    (said,) = event["emitted"]
    assert (said["type"], said["subject"]) == ("route.changed", site.environment.id)
    assert said["data"]["route"]["targets"] == row.targets
    assert event["refused"] == []


async def test_a_dry_push_shows_the_deployment_that_it_would_make(
    work: UnitOfWork, site: Site
) -> None:
    await deliver_push(work)
    report = await dry(work, "github-v1", type="push.received")
    (event,) = report["events"]
    made = {row["table"]: row["what"] for row in event["rows"]}
    assert made == {
        "builds": "insert",
        "deployments": "insert",
        "environments": "update",
        "git_refs": "insert",
        "triggers": "insert",
        "webhook_deliveries": "update",
    }
    assert [said["type"] for said in event["emitted"]] == ["deployment.created", "build.requested"]
    assert len(await every(work, Deployment)) == 1


async def test_outside_effects_are_refused_and_told(work: UnitOfWork, site: Site) -> None:
    cache = MemoryCache()
    routes = await dry(work, "route-cache-v1", cache=cache)
    assert {effect["effect"] for each in routes["events"] for effect in each["refused"]} == {
        "cache.put"
    }
    assert await cache.records("routes") == {}
    (build,) = await every(work, Build)
    builds = await dry(work, "build-production-v1")
    assert [each["refused"] for each in builds["events"]] == [
        [{"effect": "build", "build_id": build.id}]
    ]


async def test_an_event_that_cannot_be_handled_is_one_line_of_the_report(
    work: UnitOfWork, site: Site
) -> None:
    async with work.transaction() as tx:
        await tx.session.execute(
            text("UPDATE event_log SET payload = '{}' WHERE type = 'deployment.activated'")
        )
    report = await dry(work, "routing-v1", type="deployment.*")
    outcomes = {event["type"]: event["outcome"] for event in report["events"]}
    assert outcomes["deployment.activated"] == "failed"
    assert report["outcomes"]["failed"] == 1


async def test_a_window_narrows_by_everything_that_it_names(work: UnitOfWork, site: Site) -> None:
    other, _, _ = await running_site(work, Conveyor(work))
    (deployment,) = await every(work, Deployment, project_id=site.project.id)
    everything = await dry(work, "routing-v1")
    chain = await dry(work, "routing-v1", deployment=deployment.id)
    assert 0 < chain["matched"] < everything["matched"]
    rows = {row.event_id: row for row in await every(work, EventLog)}
    assert {rows[each["id"]].project_id for each in chain["events"]} == {site.project.id}
    instances = await dry(work, "routing-v1", subject="zw.evt.*.instance.>")
    assert {each["type"].split(".")[0] for each in instances["events"]} == {"instance"}
    about = await dry(work, "routing-v1", subject=other.project.id)
    assert [each["type"] for each in about["events"]] == ["project.created"]
    first, *_ = everything["events"]
    since = await dry(work, "routing-v1", since=everything["events"][1]["time"])
    assert since["matched"] == everything["matched"] - 1
    until = await dry(work, "routing-v1", until=everything["events"][1]["time"])
    assert [each["id"] for each in until["events"]] == [first["id"]]
    capped = await dry(work, "routing-v1", limit=1)
    assert (capped["matched"], capped["more"]) == (1, True)
    with pytest.raises(NotFound):
        await dry(work, "routing-v1", deployment="dep_00000000000000000000000000")


async def test_a_window_without_events_matches_none(running: Backbone) -> None:
    for mode in ("dry", "again"):
        ended = await running.carried_out("replay", mode=mode, consumer=ROUTING.name)
        assert (ended.report["matched"], ended.report["events"]) == (0, [])


async def test_again_takes_effect_although_the_inbox_has_the_event(
    running: Backbone, site: Site
) -> None:
    (row,) = await every(running.work, RoutingCache)
    await blank_route(running.work)
    ended = await running.carried_out(
        "replay", mode="again", consumer=ROUTING.name, type="instance.ready"
    )
    assert ended.report["outcomes"] == {"done": 1}
    (healed,) = await every(running.work, RoutingCache)
    assert (healed.targets, healed.version) == (row.targets, row.version + 1)


async def test_again_takes_effect_once_however_often_its_operation_is_delivered(
    running: Backbone, site: Site
) -> None:
    work = running.work
    await deliver_push(work)
    await Conveyor(work, groups=("github",)).settle()
    before = len(await every(work, Deployment))
    await _forget_push(work)
    ended = await running.carried_out(
        "replay", mode="again", consumer="github-v1", type="push.received"
    )
    assert len(await every(work, Deployment)) == before + 1

    # The report is lost, and the job comes again: thrice one after the other, then twice at once.
    (request,) = await _requests(work)
    for _ in range(3):
        await _forget_end(work)
        await _forget_push(work)
        await _deliver_again(running, request)
        await running.ended(ended.id)
    params = ReplayParams(mode="again", consumer="github-v1", type="push.received")
    await asyncio.gather(
        *(Replayer(running.wiring, bindings).run(ended.id, params) for _ in range(2))
    )
    assert len(await every(work, Deployment)) == before + 1

    # Another operation is another decision.
    await running.carried_out("replay", mode="again", consumer="github-v1", type="push.received")
    assert len(await every(work, Deployment)) == before + 2
    keys = {row.consumer for row in await every(work, Inbox) if row.consumer.startswith("github")}
    assert len(keys) == 3


async def test_again_keeps_the_thread_of_causes(running: Backbone, site: Site) -> None:
    work = running.work
    await blank_route(work)
    (ready,) = await events_of(work.database, type_="instance.ready")
    await running.carried_out("replay", mode="again", consumer=ROUTING.name, type="instance.ready")
    *_, changed = await events_of(work.database, type_="route.changed")
    assert changed.causation_id == ready.event_id
    assert changed.correlation_id == ready.correlation_id


async def _requests(work: UnitOfWork) -> list[EventLog]:
    return list(await events_of(work.database, type_="operation.requested"))


async def _forget_push(work: UnitOfWork) -> None:
    """So that the rows would let it be taken again, and only the inbox can keep it from that."""
    async with work.transaction() as tx:
        await tx.session.execute(
            text("UPDATE webhook_deliveries SET state = 'received', finished_at = NULL")
        )


async def _forget_end(work: UnitOfWork) -> None:
    """As if the process had died before it could store the report."""
    async with work.transaction() as tx:
        await tx.session.execute(
            text(
                "UPDATE operations SET state = 'running', finished_at = NULL, report = NULL, "
                "deadline_at = now() + interval '10 minutes'"
            )
        )


async def _deliver_again(running: Backbone, request: EventLog) -> None:
    async def acknowledged() -> bool:
        return not await running.bus.holds(JOBS.name, request.subject)

    await eventually(acknowledged)  # a job that is still queued would swallow the next one
    await running.bus.publish([Message(request.subject, request.payload, request.headers)])


async def test_a_build_is_never_run_again_by_a_replay(work: UnitOfWork) -> None:
    with pytest.raises(ValueError, match="it is one of"):
        ReplayParams(mode="again", consumer="build-production-v1")
