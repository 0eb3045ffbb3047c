"""Builds through the API and the command line: where they stand, and an end to them."""

from __future__ import annotations

import json

import pytest

from cli.exits import Exit
from consumers.builds.announcer import register
from consumers.builds.claims import Claims, Place, Taken
from db.models import Build
from db.session import UnitOfWork
from events.builds import Priority
from events.states import BuildState
from tests.support.api import Api
from tests.support.cli import Cli
from tests.support.factories import (
    Conveyor,
    add_organisation,
    add_site,
    add_version,
    changed,
    events_of,
    finish_build,
)
from zeitwork import ids


@pytest.fixture
def cli(api: Api) -> Cli:
    return Cli.of(api)


async def test_builds_are_listed_with_their_places_in_the_queue(api: Api, work: UnitOfWork) -> None:
    await register(work, Place("one", slots=1))
    organisation_id = await add_organisation(work)
    sites = [await add_site(work, organisation_id=organisation_id) for _ in range(3)]
    running, preview, production = [await add_version(work, site) for site in sites]
    assert isinstance(await Claims(work, Place()).take(running.build.id), Taken)
    async with changed(work, Build, preview.build.id) as build:
        build.priority = Priority.PREVIEW
    found = {each["id"]: each for each in (await api.get("/builds?open=true")).json["items"]}
    assert found[running.build.id]["position"] is None
    assert found[running.build.id]["builder"] == "local"
    assert found[production.build.id]["position"] == 1
    assert found[preview.build.id]["position"] == 2
    assert found[preview.build.id]["priority"] == "preview"
    begins = [found[each.build.id]["expected_start_at"] for each in (production, preview)]
    assert begins == sorted(begins)
    only = await api.get(f"/builds?project={sites[1].project.slug}&limit=1")
    assert [each["id"] for each in only.json["items"]] == [preview.build.id]
    assert (await api.get("/builds?project=nobody")).status == 404


async def test_without_a_builder_a_waiting_build_has_a_place_and_no_time(
    api: Api, work: UnitOfWork
) -> None:
    version = await add_version(work, await add_site(work))
    shown = (await api.get(f"/builds/{version.build.id}")).json
    assert (shown["position"], shown["expected_start_at"]) == (1, None)


async def test_a_build_is_cancelled_with_its_deployment_by_a_named_actor(
    api: Api, work: UnitOfWork
) -> None:
    version = await add_version(work, await add_site(work))
    assert isinstance(await Claims(work, Place()).take(version.build.id), Taken)
    for _ in range(2):  # once more changes nothing
        answer = await api.post(f"/builds/{version.build.id}/cancel", {})
        assert (answer.status, answer.json["state"]) == (200, "cancelled")
    deployment = (await api.get(f"/deployments/{version.deployment.id}")).json
    assert (deployment["state"], deployment["error_code"]) == ("cancelled", "cancelled")
    assert deployment["error_detail"] == "api cancelled the build."
    types = [row.type for row in await events_of(work.database)]
    assert types[-2:] == ["build.cancelled", "deployment.cancelled"]


async def test_what_has_ended_cannot_be_cancelled(api: Api, work: UnitOfWork) -> None:
    version = await add_version(work, await add_site(work))
    await finish_build(work, version)
    answer = await api.post(f"/builds/{version.build.id}/cancel", {})
    assert (answer.status, answer.json["code"]) == (409, "conflict")
    for path in (
        f"/builds/{ids.new(ids.Prefix.BUILD)}",
        f"/deployments/{ids.new(ids.Prefix.DEPLOYMENT)}",
    ):
        assert (await api.post(f"{path}/cancel", {})).status == 404


async def test_a_deployment_whose_instances_start_can_still_be_cancelled(
    api: Api, work: UnitOfWork
) -> None:
    version = await add_version(work, await add_site(work))
    await finish_build(work, version)
    await Conveyor(work).settle()
    answer = await api.post(f"/deployments/{version.deployment.id}/cancel", {})
    assert (answer.status, answer.json["state"]) == (200, "cancelled")


async def test_a_project_says_what_a_newer_commit_does(api: Api, work: UnitOfWork) -> None:
    site = await add_site(work, "shop")
    assert (await api.get("/projects/shop")).json["newer_commit"] == "cancel"
    answer = await api.call("PATCH", "/projects/shop", json={"newer_commit": "queue"})
    assert (answer.status, answer.json["newer_commit"]) == (200, "queue")
    refused = await api.call("PATCH", "/projects/shop", json={"newer_commit": "never"})
    assert refused.status == 400
    older = await add_version(work, site, 1)
    await add_version(work, site, 2)
    assert (await api.get(f"/builds/{older.build.id}")).json["state"] == "queued"


async def test_the_command_line_lists_shows_and_cancels(cli: Cli, work: UnitOfWork) -> None:
    version = await add_version(work, await add_site(work, "shop"))
    listed = await cli("builds", "list", "--waiting")
    assert listed.code == Exit.OK, listed.err
    assert version.build.id in listed.out
    shown = json.loads((await cli("builds", "show", version.build.id, "--json")).out)
    assert shown["position"] == 1
    changed_ = await cli("projects", "change", "shop", "--newer-commit", "all", "--json")
    assert json.loads(changed_.out)["newer_commit"] == "all"
    ended = await cli("builds", "cancel", version.build.id)
    assert ended.code == Exit.OK, ended.err
    assert "cancelled" in ended.out
    again = await cli("deployments", "cancel", version.deployment.id, "--json")
    assert json.loads(again.out)["builds"][0]["state"] == BuildState.CANCELLED


@pytest.mark.parametrize("number", ["2147483648", "999999999999999999"])
async def test_a_reader_that_asks_for_lines_behind_the_last_possible_gets_none(
    api: Api, work: UnitOfWork, number: str
) -> None:
    version = await add_version(work, await add_site(work))
    await finish_build(work, version)
    path = f"/builds/{version.build.id}/logs"
    assert (await api.get(f"{path}?after={number}")).status == 400
    answer = await api.get(f"{path}/stream", headers={"Last-Event-ID": number})
    assert answer.status == 200
    assert b"event: end" in answer.body
