"""Commit statuses, deployments and checks: the present state, the newest, once each, or later."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from consumers.github.reports import Reporter
from consumers.outcomes import Done, Later
from db.models import Deployment, GitHubInstallation, GitHubReport
from db.queries.deployments import deployment_move
from db.queries.github_app import InstallationFacts, installation_put, moment
from db.queries.projects import environment_lock
from db.session import UnitOfWork
from events.envelope import Envelope, unwrap
from events.states import DeploymentState, InstallationState
from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Repository
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.factories import (
    Site,
    Version,
    add_site,
    add_version,
    changed,
    events_of,
    every,
    fetch,
    sha,
)
from tests.support.running import backbone
from zeitwork.errors import GitHubUnavailable
from zeitwork.github.app import GitHubApp

KINDS = ("checks", "deployments", "statuses")
STATE = DeploymentState


class Desk:
    """A project with an installation, and the reporter that is handed its events."""

    def __init__(self, github: FakeGitHub, app: GitHubApp, work: UnitOfWork) -> None:
        self.github = github
        self.work = work
        self.repository: Repository = github.add_repository("acme/shop")
        self.installation = github.install("acme")
        self.reporter = self.make(app)

    def make(self, app: GitHubApp, kinds: tuple[str, ...] = KINDS) -> Reporter:
        return Reporter(self.work, app, kinds=kinds, visit=lambda host: f"http://{host}/")

    async def site(self, **changes: Any) -> Site:
        async with self.work.transaction() as tx:
            at = await moment(tx.session)
            facts = InstallationFacts(
                self.installation.id, "acme", "User", "all", InstallationState.ACTIVE, at
            )
            await installation_put(tx.session, facts)
        chosen = {"github_installation_id": self.installation.id, **changes}
        return await add_site(self.work, "shop", **chosen)

    async def move(self, version: Version, *states: DeploymentState, **why: Any) -> None:
        for state in states:
            async with self.work.transaction() as tx:
                await environment_lock(tx.session, version.deployment.environment_id)
                row = await tx.session.get_one(Deployment, version.deployment.id)
                deployment_move(tx, row, state, **why)

    async def events(self, version: Version) -> list[Envelope]:
        rows = await events_of(self.work.database)
        return [
            unwrap(row.headers, row.payload)
            for row in rows
            if row.aggregate_id == version.deployment.id
        ]

    async def tell(self, version: Version) -> None:
        """Hand over the newest event about it."""
        said = await self.events(version)
        assert await self.reporter.deployment_changed(said[-1]) == Done()

    def statuses(self) -> list[str]:
        return [each["state"] for each in self.repository.statuses]

    def deployment_states(self) -> list[str]:
        return [each["state"] for each in self.repository.deployment_statuses]

    def checks(self) -> list[tuple[str, str | None]]:
        return [(each["status"], each.get("conclusion")) for each in self.repository.check_runs]


@pytest.fixture
def desk(github: FakeGitHub, github_app: GitHubApp, work: UnitOfWork) -> Desk:
    return Desk(github, github_app, work)


async def test_a_deployment_is_told_from_its_beginning_to_its_end(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    await desk.tell(version)
    assert desk.checks() == [("queued", None)]
    for state in (STATE.BUILDING, STATE.DEPLOYING, STATE.ACTIVE):
        await desk.move(version, state)
        await desk.tell(version)
    assert desk.statuses() == ["pending", "pending", "pending", "success"]
    assert desk.deployment_states() == ["queued", "in_progress", "in_progress", "success"]
    assert desk.checks() == [("completed", "success")]
    (made,) = desk.repository.deployments
    assert (made["sha"], made["environment"]) == (sha(1), "shop / production")
    last = desk.repository.statuses[-1]
    assert (last["sha"], last["context"]) == (sha(1), "zeitwork/shop/production")
    assert last["target_url"] == "http://shop.test/"


async def test_a_failure_is_told_with_its_reason(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    await desk.move(version, STATE.BUILDING)
    await desk.move(version, STATE.FAILED, code="build_failed", detail="no start command")
    await desk.tell(version)
    assert desk.statuses() == ["failure"]
    assert desk.repository.statuses[0]["description"] == "build_failed: no start command"
    assert desk.checks() == [("completed", "failure")]


async def test_late_and_repeated_events_post_the_present_and_nothing_twice(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    await desk.move(version, STATE.BUILDING, STATE.DEPLOYING, STATE.ACTIVE)
    said = await desk.events(version) * 3
    random.Random(1).shuffle(said)
    for each in said:
        assert await desk.reporter.deployment_changed(each) == Done()
    assert desk.statuses() == ["success"]
    assert desk.deployment_states() == ["success"]
    assert len(desk.repository.deployments) == len(desk.repository.check_runs) == 1


async def test_of_many_at_once_one_posts_and_the_others_come_later(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    said = (await desk.events(version))[-1]
    outcomes = await asyncio.gather(*(desk.reporter.deployment_changed(said) for _ in range(8)))
    assert Done() in outcomes
    assert {type(each) for each in outcomes} <= {Done, Later}
    assert len(desk.repository.deployments) == len(desk.repository.check_runs) == 1
    assert desk.statuses() == ["pending"]


async def test_what_moves_while_it_is_told_is_told_after(desk: Desk, github_app: GitHubApp) -> None:
    version = await add_version(desk.work, await desk.site())
    first = (await desk.events(version))[-1]
    hasty = Hasty(github_app, desk, version)
    assert await desk.make(hasty).deployment_changed(first) == Done()  # type: ignore[arg-type]
    assert isinstance(hasty.outcome, Later)
    await desk.tell(version)
    assert desk.statuses()[-1] == "success"
    assert desk.checks() == [("completed", "success")]


class Hasty:
    """The App; at its first call the deployment goes live, and another replica hears of it."""

    def __init__(self, app: GitHubApp, desk: Desk, version: Version) -> None:
        self._app, self._desk, self._version = app, desk, version
        self.outcome: object = None

    async def as_installation(self, *args: Any, **options: Any) -> Any:
        if self.outcome is None:
            await self._desk.move(self._version, STATE.BUILDING, STATE.DEPLOYING, STATE.ACTIVE)
            said = (await self._desk.events(self._version))[-1]
            self.outcome = await self._desk.reporter.deployment_changed(said)
        return await self._app.as_installation(*args, **options)


async def test_an_older_deployment_of_the_commit_does_not_take_its_status_back(desk: Desk) -> None:
    site = await desk.site(newer_commit="all")
    old, new = await add_version(desk.work, site), await add_version(desk.work, site)
    async with changed(desk.work, Deployment, new.deployment.id) as row:
        row.commit_sha = old.deployment.commit_sha
    await desk.move(new, STATE.BUILDING, STATE.DEPLOYING, STATE.ACTIVE)
    await desk.tell(new)
    await desk.move(old, STATE.SUPERSEDED)
    await desk.tell(old)
    assert desk.statuses() == ["success"]
    assert desk.checks() == [("completed", "success")]
    assert desk.deployment_states() == ["success", "inactive"]


@pytest.mark.parametrize("path", ["/deployments", "/check-runs"])
async def test_a_creation_whose_answer_was_lost_is_found_and_not_repeated(
    desk: Desk, path: str
) -> None:
    version = await add_version(desk.work, await desk.site())
    (said,) = await desk.events(version)
    desk.github.trouble(0, path=path, method="POST", done=True)
    with pytest.raises(GitHubUnavailable):
        await desk.reporter.deployment_changed(said)
    assert await desk.reporter.deployment_changed(said) == Done()
    assert len(desk.repository.deployments) == len(desk.repository.check_runs) == 1
    assert desk.statuses() == ["pending"]


async def test_a_permission_that_lacks_costs_only_its_own_report(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    desk.github.trouble(403, path="/check-runs", left=99, body='{"message": "not accessible"}')
    await desk.tell(version)
    assert desk.statuses() == ["pending"]
    assert desk.deployment_states() == ["queued"]
    (report,) = await every(desk.work, GitHubReport)
    assert report.refused.startswith("checks: GitHub answered 403")
    assert report.lease_until is None


async def test_while_github_is_away_the_deployment_goes_on_and_is_told_afterwards(
    desk: Desk,
) -> None:
    version = await add_version(desk.work, await desk.site())
    desk.github.trouble(503, left=99)
    with pytest.raises(GitHubUnavailable) as caught:
        await desk.tell(version)
    assert caught.value.retryable
    await desk.move(version, STATE.BUILDING, STATE.DEPLOYING, STATE.ACTIVE)
    row = await fetch(desk.work, Deployment, version.deployment.id)
    assert (row.state, row.error_code) == (STATE.ACTIVE, None)
    desk.github.troubles.clear()
    await desk.tell(version)
    assert desk.statuses() == ["success"]


async def test_a_limit_puts_the_report_off_for_as_long_as_github_says(desk: Desk) -> None:
    version = await add_version(desk.work, await desk.site())
    (said,) = await desk.events(version)
    desk.github.trouble(429, path="/repos/", headers={"Retry-After": "17"})
    outcome = await desk.reporter.deployment_changed(said)
    assert isinstance(outcome, Later)
    assert outcome.seconds == 17


@pytest.mark.parametrize("case", ["no installation", "suspended", "another organisation"])
async def test_where_there_is_nobody_to_tell_nothing_is_sent(desk: Desk, case: str) -> None:
    changes = {"github_installation_id": None} if case == "no installation" else {}
    version = await add_version(desk.work, await desk.site(**changes))
    stranger = await add_site(desk.work)
    async with changed(desk.work, GitHubInstallation, desk.installation.id) as row:
        if case == "suspended":
            row.state = InstallationState.SUSPENDED
        if case == "another organisation":
            row.organisation_id = stranger.organisation_id
    await desk.tell(version)
    assert desk.github.calls == []
    assert await every(desk.work, GitHubReport) == []


async def test_a_push_is_told_through_the_real_backbone(
    desk: Desk, api: Api, nats_url: str
) -> None:
    """From the webhook to the commit status; the build waits, as nobody builds here."""
    await desk.site()
    desk.github.hooks.url = f"{api.base}/webhooks/github"
    groups = ("github", "github-reports")
    async with backbone(nats_url, desk.work, groups, reports=desk.reporter):
        delivery = await desk.github.say_push(
            desk.repository, sha(5), installation=desk.installation
        )
        assert delivery.status_code == 202
        await eventually(lambda: desk.repository.statuses and desk.repository.check_runs)
    (status,) = desk.repository.statuses
    assert (status["sha"], status["state"]) == (sha(5), "pending")


async def test_only_the_chosen_kinds_are_posted(desk: Desk, github_app: GitHubApp) -> None:
    version = await add_version(desk.work, await desk.site())
    desk.reporter = desk.make(github_app, ("statuses",))
    await desk.tell(version)
    assert desk.statuses() == ["pending"]
    assert desk.repository.deployments == desk.repository.check_runs == []
