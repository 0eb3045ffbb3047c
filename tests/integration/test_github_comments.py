"""The comment on a pull request: one, whoever posts and however often, and it tells the present."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from consumers.github import comment as texts
from consumers.github.commenter import DELETED, Commenter
from consumers.outcomes import Done, Later, Outcome
from db.models import Build, Deployment, GitHubComment, GitHubInstallation, Project
from db.queries.deployments import deployment_move
from db.queries.github_app import InstallationFacts, installation_put, moment
from db.queries.projects import environment_lock
from db.session import UnitOfWork
from events.deployments import DeploymentFact
from events.envelope import Envelope, unwrap
from events.previews import PreviewFact
from events.states import BuildState, DeploymentState, InstallationState
from examples.fake_github.server import FakeGitHub
from tests.support.api import Api
from tests.support.eventually import eventually
from tests.support.factories import add_node, changed, events_of, every, sha
from tests.support.previews import Stage, add_pull
from tests.support.running import backbone
from zeitwork.errors import GitHubUnavailable
from zeitwork.github.app import GitHubApp


class Board:
    """A project with previews and an installation; what happened is told when asked to."""

    def __init__(self, github: FakeGitHub, app: GitHubApp, stage: Stage) -> None:
        self.github = github
        self.app = app
        self.stage = stage
        self.work = stage.work
        self.repository = github.add_repository("acme/shop")
        self.installation = github.install("acme")
        self.commenter = self.make(app)

    def make(self, app: Any) -> Commenter:
        return Commenter(
            self.work,
            app,
            visit=lambda host: f"http://{host}/",
            logs=lambda deployment, _build: f"zeitwork logs {deployment}",
        )

    async def prepare(self) -> Board:
        async with self.work.transaction() as tx:
            at = await moment(tx.session)
            facts = InstallationFacts(
                self.installation.id, "acme", "User", "all", InstallationState.ACTIVE, at
            )
            await installation_put(tx.session, facts)
        await self.stage.configure(github_installation_id=self.installation.id)
        return self

    async def hear(self, action: str, **changes: Any) -> None:
        await self.stage.hear(action, github_installation_id=self.installation.id, **changes)

    async def said(self) -> list[Envelope]:
        """All events that are bound to the durable, in order."""
        rows = await events_of(self.work.database)
        found = [unwrap(row.headers, row.payload) for row in rows]
        return [each for each in found if isinstance(each.data, DeploymentFact | PreviewFact)]

    async def tell(self) -> Outcome:
        return await self.commenter.preview_changed((await self.said())[-1])

    async def move(self, *states: DeploymentState, **why: Any) -> None:
        newest = (await self.stage.deployments())[-1]
        for state in states:
            async with self.work.transaction() as tx:
                await environment_lock(tx.session, newest.environment_id)
                row = await tx.session.get_one(Deployment, newest.id)
                deployment_move(tx, row, state, **why)

    async def row(self) -> Any:
        (row,) = await every(self.work, GitHubComment)
        return row

    async def forget(self) -> None:
        """The row is lost, as after a restore of an older backup."""
        async with self.work.transaction() as tx:
            await tx.session.delete(await tx.session.merge(await self.row()))

    @property
    def comments(self) -> list[str]:
        return [each["body"] for each in self.repository.comments]

    @property
    def lines(self) -> list[list[str]]:
        """The cells of the only comment's table."""
        (text,) = self.comments
        rows = [each for each in text.splitlines() if each.startswith("| ")][2:]
        return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]

    def posts(self) -> int:
        return sum(
            method == "POST" and path.endswith("/comments") for method, path in self.github.calls
        )


@pytest.fixture
async def board(
    github: FakeGitHub, github_app: GitHubApp, work: UnitOfWork, tmp_path: Path
) -> Board:
    await add_node(work)
    return await Board(github, github_app, await Stage.make(work, tmp_path)).prepare()


async def test_a_comment_follows_its_preview_from_the_queue_to_its_removal(board: Board) -> None:
    slug = board.stage.site.project.slug
    await board.hear("opened")
    assert await board.tell() == Done()
    (deployment,) = await board.stage.deployments()
    preview = f"http://{slug}-pr-42.test/"
    logs = f"`zeitwork logs {deployment.id}`"
    (line,) = board.lines
    assert line[:5] == [slug, "Queued", f"[{preview}]({preview})", "`0000000`", logs]
    await board.move(DeploymentState.BUILDING)
    await board.tell()
    assert board.lines[0][1] == "Building"
    await board.move(DeploymentState.DEPLOYING, DeploymentState.ACTIVE)
    await board.tell()
    assert board.lines[0][1] == "**Ready**"
    assert board.lines[0][3] == f"[`0000000`](http://{deployment.host}/)"
    await board.hear("closed")
    await board.tell()
    assert board.lines[0][:2] == [slug, "Removed"]
    await board.hear("reopened", head_sha=sha(2))
    await board.stage.stop_all()
    await board.stage.reconcile()
    await board.tell()
    assert board.lines[0][1] == "Queued"
    assert board.posts() == 1


async def test_a_failure_is_told_with_code_and_last_line_which_can_do_no_harm(
    board: Board,
) -> None:
    await board.hear("opened")
    await board.move(DeploymentState.BUILDING)
    detail = "first\n@everyone | `#1` <img src=x> --> see\n"
    await board.move(DeploymentState.FAILED, code="build_failed", detail=detail)
    await board.tell()
    (text,) = board.comments
    assert "`build_failed`<br>`@everyone \\| '#1' <img src=x> --> see` |" in text
    assert "first" not in text


async def test_a_fork_is_told_what_it_waits_for(board: Board) -> None:
    await board.hear("opened", head_repo="mallory/shop")
    await board.tell()
    assert board.lines[0][1] == "Waiting: `a commit from a fork has to be approved`"


async def test_projects_of_one_repository_share_a_comment_and_each_has_its_line(
    board: Board, tmp_path: Path
) -> None:
    other = await Stage.make(board.work, tmp_path)
    async with changed(board.work, Project, other.site.project.id) as project:
        project.organisation_id = board.stage.site.organisation_id
        project.github_installation_id = board.installation.id
        project.slug = "a-first"
    await board.hear("opened")
    await board.tell()
    assert [line[0] for line in board.lines] == ["a-first", board.stage.site.project.slug]
    async with changed(board.work, Project, other.site.project.id) as project:
        project.previews_enabled = False
    await board.stage.reconcile()
    await board.tell()
    assert [line[1] for line in board.lines] == ["Removed", "Queued"]


async def test_another_organisation_on_the_repository_is_told_nothing_of_it(
    board: Board, tmp_path: Path
) -> None:
    other = await Stage.make(board.work, tmp_path)
    await other.configure(github_installation_id=board.installation.id)
    async with changed(board.work, GitHubInstallation, board.installation.id) as row:
        row.organisation_id = board.stage.site.organisation_id
    await board.hear("opened")
    for each in await board.said():
        await board.commenter.preview_changed(each)
    assert [line[0] for line in board.lines] == [board.stage.site.project.slug]


async def test_of_many_at_once_one_makes_the_comment(board: Board) -> None:
    await board.hear("opened")
    last = (await board.said())[-1]
    outcomes = await asyncio.gather(*(board.commenter.preview_changed(last) for _ in range(8)))
    assert Done() in outcomes
    assert {type(each) for each in outcomes} <= {Done, Later}
    assert await board.tell() == Done()
    assert (len(board.comments), board.posts()) == (1, 1)


@pytest.mark.parametrize("case", ["answer lost", "row lost"])
async def test_a_comment_that_is_there_is_found_and_not_made_again(board: Board, case: str) -> None:
    await board.hear("opened")
    for number in range(130):  # more than a page of others, one with a copy of our mark
        mark = texts.marker(board.stage.site.organisation_id) if number == 3 else ""
        board.repository.comments.append({"id": number, "issue": 42, "body": f"{mark}{number}"})
    if case == "answer lost":
        board.github.trouble(0, path="/comments", method="POST", done=True)
        with pytest.raises(GitHubUnavailable):
            await board.tell()
    else:
        await board.tell()
        await board.forget()
    await board.move(DeploymentState.BUILDING)
    assert await board.tell() == Done()
    assert board.posts() == 1
    assert len(board.comments) == 131
    assert "Building" in board.comments[-1]
    assert "Building" not in board.comments[3]
    assert (await board.row()).comment_id == board.repository.comments[-1]["id"]


async def test_a_comment_that_a_person_deletes_stays_deleted(board: Board) -> None:
    await board.hear("opened")
    await board.tell()
    board.repository.comments.clear()
    await board.move(DeploymentState.BUILDING)
    # GitHub is away just when it is asked whether the comment or the repository is gone.
    board.github.trouble(503, path="/issues/42/comments", method="GET", left=9)
    with pytest.raises(GitHubUnavailable):
        await board.tell()
    board.github.troubles.clear()
    assert await board.tell() == Done()
    assert (await board.row()).settled == DELETED
    await board.move(DeploymentState.DEPLOYING)
    calls = len(board.github.calls)
    assert await board.tell() == Done()
    assert len(board.github.calls) == calls
    assert (board.comments, board.posts()) == ([], 1)


@pytest.mark.parametrize(("status", "code"), [(403, "github_forbidden"), (404, "github_not_found")])
async def test_what_github_refuses_is_settled_and_tried_with_the_next_event(
    board: Board, status: int, code: str
) -> None:
    await board.hear("opened")
    await board.tell()
    await board.move(DeploymentState.BUILDING)
    board.github.trouble(status, path="/issues/", left=99, body='{"message": "no"}')
    assert await board.tell() == Done()
    row = await board.row()
    assert (row.settled, row.lease_until) == (code, None)
    board.github.troubles.clear()
    await board.move(DeploymentState.DEPLOYING)
    assert await board.tell() == Done()
    assert (await board.row()).settled is None
    assert (board.lines[0][1], board.posts()) == ("Starting", 1)


async def test_a_limit_puts_the_comment_off_and_the_deployment_goes_on(board: Board) -> None:
    await board.hear("opened")
    board.github.trouble(429, path="/issues/", headers={"Retry-After": "17"})
    outcome = await board.tell()
    assert isinstance(outcome, Later)
    assert outcome.seconds == 17
    assert (await board.row()).lease_until is None
    (deployment,) = await board.stage.deployments()
    assert deployment.state is DeploymentState.QUEUED


@pytest.mark.parametrize("case", ["no installation", "suspended", "a push"])
async def test_where_there_is_nothing_to_tell_nothing_is_sent(board: Board, case: str) -> None:
    if case == "no installation":
        await board.stage.configure(github_installation_id=None)
    if case == "suspended":
        async with changed(board.work, GitHubInstallation, board.installation.id) as row:
            row.state = InstallationState.SUSPENDED
    if case == "a push":
        await board.stage.push(github_installation_id=board.installation.id)
    else:
        await board.hear("opened")
    assert await board.tell() == Done()
    assert board.github.calls == []
    assert await every(board.work, GitHubComment) == []


async def test_a_preview_that_ended_before_anything_was_said_is_not_mentioned(
    board: Board,
) -> None:
    await board.hear("opened")
    await board.hear("closed")
    for each in await board.said():
        assert await board.commenter.preview_changed(each) == Done()
    assert board.comments == []


async def test_a_pull_request_is_told_through_the_real_backbone(
    board: Board, api: Api, nats_url: str
) -> None:
    """From the webhook to the comment; the build fails, as nobody builds here."""
    board.github.hooks.url = f"{api.base}/webhooks/github"
    groups = ("deployments", "github-reports", "previews")
    async with backbone(nats_url, board.work, groups, comments=board.commenter):
        await add_pull(
            board.work, "opened", github_installation_id=board.installation.id, head_sha=sha(5)
        )
        await eventually(lambda: bool(board.comments))
        (build,) = await every(board.work, Build)
        assert build.state is BuildState.QUEUED
    assert board.lines[0][1] == "Queued"
