"""The commands against the real API: what they print, and what they exit with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.exits import Exit
from db.models import Build, Deployment
from db.queries.build_logs import Line, build_logs_append
from db.queries.instances import instance_create
from db.session import UnitOfWork
from events import subjects
from events.bus import Message
from events.memory import MemoryBus
from events.states import BuildState, DeploymentState
from tests.support.api import Api
from tests.support.cli import Cli, problem
from tests.support.factories import Site, Version, add_site, add_version, changed
from tests.support.pushes import Repository
from zeitwork import clock


@pytest.fixture
def cli(api: Api) -> Cli:
    return Cli.of(api)


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work, "shop")


@pytest.fixture
async def version(work: UnitOfWork, site: Site) -> Version:
    """A deployment with something to print that is not harmless."""
    version = await add_version(work, site)
    async with changed(work, Deployment, version.deployment.id) as deployment:
        deployment.commit_message = "fix [/bold] \x1b]0;owned\x07title"
    return version


async def say(work: UnitOfWork, version: Version, *lines: str) -> None:
    async with work.transaction() as tx:
        build = await tx.session.get_one(Build, version.build.id)
        numbered = [Line(number, clock.now(), line) for number, line in enumerate(lines, 1)]
        await build_logs_append(tx.session, build, numbered)
        build.state = BuildState.FAILED


def one_document(out: str) -> Any:
    assert out.count("\n") == 1
    return json.loads(out)


async def test_a_project_is_created_found_and_listed(cli: Cli) -> None:
    created = await cli(
        "projects", "create", "blog", "--repo", "acme/blog", "--root", "site", "--json"
    )
    assert created.code == Exit.OK, created.err
    project = one_document(created.out)
    assert (project["slug"], project["github_repo"]) == ("blog", "acme/blog")
    assert project["root_directory"] == "site"
    assert one_document((await cli("projects", "show", "blog", "--json")).out) == project
    assert one_document((await cli("projects", "list", "--json")).out) == [project]
    shown = await cli("projects", "list")
    assert project["environments"][0]["url"] in shown.out
    again = await cli("projects", "create", "blog", "--repo", "acme/blog", "--json")
    assert again.code == Exit.CONFLICT
    assert problem(again)["code"] == "conflict"


async def test_each_listing_command_prints_one_document(cli: Cli, version: Version) -> None:
    listed = one_document((await cli("deployments", "list", "--json")).out)
    assert [each["id"] for each in listed] == [version.deployment.id]
    shown = one_document((await cli("deployments", "show", version.deployment.id, "--json")).out)
    assert shown["commit_message"] == "fix [/bold] \x1b]0;owned\x07title"
    chain = await cli("events", "list", "--correlation", shown["correlation_id"], "--json")
    types = [event["type"] for event in one_document(chain.out)]
    assert types == ["deployment.created", "build.requested"]


async def test_what_people_read_cannot_act_on_their_terminal(
    cli: Cli, version: Version, work: UnitOfWork
) -> None:
    shown = await cli("deployments", "show", version.deployment.id)
    assert shown.code == Exit.OK, shown.err
    assert "fix [/bold] title" in shown.out
    await say(work, version, "\x1b[2Jwiped", "[red]markup[/nope]")
    logs = await cli("logs", "shop", "--build")
    assert logs.out == "wiped\n[red]markup[/nope]\n"


async def test_logs_are_one_document_a_line(
    cli: Cli, version: Version, work: UnitOfWork, bus: MemoryBus
) -> None:
    await say(work, version, "compiling", "done")
    async with work.transaction() as tx:
        instance = instance_create(tx, version.deployment, slot=0).id
    said = json.dumps({"lines": [{"at": "now", "line": "serving"}]}).encode()
    await bus.publish([Message(subjects.log("instance", instance), said)])
    done = await cli("logs", version.deployment.id, "--json")
    assert done.code == Exit.OK, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [(each["source"], each["line"]) for each in found] == [
        ("build", "compiling"),
        ("build", "done"),
        (instance, "serving"),
    ]


async def test_a_deployment_that_fails_is_told_with_its_log(
    cli: Cli, site: Site, work: UnitOfWork, tmp_path: Path
) -> None:
    repository = Repository(tmp_path / "repository")
    sha = repository.commit({"index.html": "hello"})
    begun = await cli("deploy", "shop", "--source", str(repository.path), "--no-wait", "--json")
    deployment = one_document(begun.out)
    assert (begun.code, deployment["commit_sha"]) == (Exit.OK, sha)
    timed_out = await cli("deploy", "shop", "--commit", sha, "--timeout", "0.1", "--json")
    assert timed_out.code == Exit.TIMED_OUT
    said = problem(timed_out)
    assert said["code"] == "timed_out"
    assert "zeitwork deployments show dep_" in said["detail"]

    async with cli.started("deploy", "shop", "--commit", sha) as process:
        assert process.stderr is not None
        await process.stderr.readline()  # it has been created
        (newest,) = one_document((await cli("deployments", "list", "--limit", "1", "--json")).out)
        async with changed(work, Deployment, newest["id"]) as failed:
            failed.state = DeploymentState.FAILED
            failed.error_code = "build_command_failed"
            failed.error_detail = "npm ended with exit code 1"
        out, err = await process.communicate()
    assert (process.returncode, out) == (Exit.DEPLOYMENT_FAILED, b"")
    assert b"build_command_failed: npm ended with exit code 1" in err


async def test_a_directory_that_is_no_repository_is_told(
    cli: Cli, site: Site, tmp_path: Path
) -> None:
    done = await cli("deploy", "shop", "--source", str(tmp_path), "--json")
    assert done.code == Exit.USAGE
    assert "give --commit or --source" in problem(done)["detail"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["projects", "show", "none"], Exit.NOT_FOUND, "not_found"),
        (["logs", "none"], Exit.NOT_FOUND, "not_found"),
        (["projects", "create", "Not A Slug", "--repo", "a/b"], Exit.USAGE, "invalid_fields"),
        (["deployments", "list", "--limit", "0"], Exit.USAGE, "invalid_fields"),
        (["events", "list", "--nope"], Exit.USAGE, "usage"),
        (["deploy"], Exit.USAGE, "usage"),
        (["no-such-command"], Exit.USAGE, "usage"),
    ],
)
async def test_a_refusal_is_a_document_and_an_exit_code(
    cli: Cli, arguments: list[str], code: Exit, said: str
) -> None:
    done = await cli(*arguments, "--json")
    assert (done.code, problem(done)["code"]) == (code, said)


async def test_a_refusal_names_the_trace_that_explains_it(cli: Cli) -> None:
    trace = problem(await cli("projects", "show", "none", "--json"))["trace_id"]
    assert len(trace) == 32
    plain = await cli("projects", "show", "none")
    assert plain.out == ""
    assert plain.err.startswith("error [not_found] ")
    assert "\ntrace " in plain.err


async def test_a_token_that_is_not_valid_is_told(api: Api) -> None:
    done = await Cli.of(api, ZEITWORK_API_TOKEN="wrong")("projects", "list", "--json")
    assert (done.code, problem(done)["code"]) == (Exit.UNAUTHENTICATED, "unauthenticated")
