"""Installations and repositories follow GitHub, by its API or its word; projects go along."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from consumers.outcomes import Done, Drop
from db.models import GitHubInstallation, GitHubRepository, Project, WebhookDelivery
from db.session import UnitOfWork
from events.envelope import Envelope
from events.installations import InstallationChanged, RepositoryChanged
from events.projects import ProjectSourceChanged
from events.states import DeliveryState, InstallationState
from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Installation, Repository
from tests.support.api import Api
from tests.support.factories import Conveyor, add_site, changed, envelope, events_of, every, fetch
from zeitwork import ids
from zeitwork.errors import GitHubUnavailable
from zeitwork.github.app import GitHubApp

ACTIVE, SUSPENDED, DELETED = InstallationState


class Town:
    """GitHub with one account, whose webhooks come to the API; handlers run when told."""

    def __init__(self, github: FakeGitHub, work: UnitOfWork, app: GitHubApp | None) -> None:
        self.github = github
        self.work = work
        self.shop = github.add_repository("Acme/Shop")
        self.blog = github.add_repository("Acme/Blog")
        self.installation = github.install("Acme")
        self.conveyor = Conveyor(work, github=app, github_web_url=github.url)

    async def installed(self) -> None:
        await self.github.say_installation(self.installation, "created")
        await self.conveyor.settle()

    async def rename(self, name: str) -> None:
        changes = self.github.rename(self.shop, name)
        await self.say(self.shop, "renamed", changes)

    async def say(self, repository: Repository, action: str, changes: Any = None) -> None:
        delivery = await self.github.say_repository(
            repository, action, installation=self.installation, changes=changes
        )
        assert delivery.status_code == 202

    async def state(self) -> InstallationState:
        row: GitHubInstallation = await fetch(self.work, GitHubInstallation, self.installation.id)
        return row.state

    async def seen(self) -> set[str]:
        rows = await every(self.work, GitHubRepository)
        return {row.full_name for row in rows if row.removed_at is None}

    async def project(self, id_: str) -> Project:
        found: Project = await fetch(self.work, Project, id_)
        return found


@pytest.fixture(params=["asked", "believed"])
async def town(
    request: pytest.FixtureRequest,
    github: FakeGitHub,
    github_app: GitHubApp,
    api: Api,
    work: UnitOfWork,
) -> Town:
    """Once with the App's key, once with nothing but its webhooks."""
    github.hooks.url = f"{api.base}/webhooks/github"
    return Town(github, work, github_app if request.param == "asked" else None)


async def test_an_installation_is_noted_with_its_repositories(town: Town) -> None:
    await town.installed()
    (row,) = await every(town.work, GitHubInstallation)
    assert (row.id, row.account, row.state) == (town.installation.id, "Acme", ACTIVE)
    assert (row.repository_selection, row.organisation_id) == ("all", None)
    assert await town.seen() == {"acme/shop", "acme/blog"}
    (delivery,) = await every(town.work, WebhookDelivery)
    assert (delivery.state, delivery.reason) == (DeliveryState.PROCESSED, None)


async def test_a_suspension_begins_and_ends(town: Town) -> None:
    await town.installed()
    town.github.suspend(town.installation)
    await town.github.say_installation(town.installation, "suspend")
    await town.conveyor.settle()
    assert await town.state() is SUSPENDED
    assert await town.seen() == {"acme/shop", "acme/blog"}
    town.github.unsuspend(town.installation)
    await town.github.say_installation(town.installation, "unsuspend")
    await town.conveyor.settle()
    assert await town.state() is ACTIVE


async def test_repositories_come_and_go(town: Town) -> None:
    town.installation.repositories = {town.shop.id}
    await town.installed()
    assert await town.seen() == {"acme/shop"}
    town.installation.repositories = {town.blog.id}
    await town.github.say_repositories(town.installation, added=(town.blog,))
    await town.github.say_repositories(town.installation, removed=(town.shop,))
    await town.conveyor.settle()
    assert await town.seen() == {"acme/blog"}


async def test_a_deleted_installation_is_the_end_whatever_comes_later(town: Town) -> None:
    await town.installed()
    town.github.uninstall(town.installation)
    await town.github.say_installation(town.installation, "deleted")
    await town.github.say_installation(town.installation, "unsuspend")
    await town.conveyor.settle()
    assert await town.state() is DELETED
    assert await town.seen() == set()


async def test_a_deleted_repository_is_removed_and_its_project_stays(town: Town) -> None:
    site = await add_site(town.work, github_repo="acme/shop")
    await town.installed()
    del town.github.state.repositories[town.shop.id]
    await town.say(town.shop, "deleted")
    await town.conveyor.settle()
    assert await town.seen() == {"acme/blog"}
    assert (await town.project(site.project.id)).github_repo == "acme/shop"


async def test_projects_follow_a_renamed_repository(town: Town) -> None:
    here: dict[str, Any] = {"github_installation_id": town.installation.id}
    url = f"{town.github.url}/Acme/Shop.git"
    mine = await add_site(town.work, github_repo="acme/shop", clone_url=url, **here)
    open_ = await add_site(town.work, github_repo="acme/shop")
    other = await add_site(town.work, github_repo="acme/blog", **here)
    elsewhere = await add_site(town.work, github_repo="acme/shop", github_installation_id=5)
    await town.installed()
    await town.rename("Store")
    await town.conveyor.settle()
    for site in (mine, open_):
        assert (await town.project(site.project.id)).github_repo == "acme/store"
    assert (await town.project(mine.project.id)).clone_url == f"{town.github.url}/acme/store.git"
    assert (await town.project(other.project.id)).github_repo == "acme/blog"
    assert (await town.project(elsewhere.project.id)).github_repo == "acme/shop"
    said = await events_of(town.work.database, type_=ProjectSourceChanged.event_type)
    assert {row.aggregate_id for row in said} == {mine.project.id, open_.project.id}


async def test_a_rename_that_is_heard_first_of_all_is_followed(town: Town) -> None:
    site = await add_site(town.work, github_repo="acme/shop")
    await town.rename("store")
    await town.conveyor.settle()
    assert (await town.project(site.project.id)).github_repo == "acme/store"


async def test_a_transfer_leads_to_the_other_installation(town: Town) -> None:
    site = await add_site(
        town.work, github_repo="acme/shop", github_installation_id=town.installation.id
    )
    await town.installed()
    old, town.installation = town.installation, town.github.install("Globex")
    await town.github.say_installation(town.installation, "created")
    await town.conveyor.settle()
    changes = town.github.transfer(town.shop, "Globex")
    await town.say(town.shop, "transferred", changes)
    await town.github.say_repositories(old, removed=(town.shop,))
    await town.conveyor.settle()
    project = await town.project(site.project.id)
    assert project.github_repo == "globex/shop"
    assert project.github_installation_id == town.installation.id
    assert await town.seen() == {"globex/shop", "acme/blog"}


async def test_a_transfer_does_not_open_the_installation_of_another_organisation(
    town: Town,
) -> None:
    first = town.installation
    site = await add_site(town.work, github_repo="acme/shop", github_installation_id=first.id)
    stranger = await add_site(town.work, github_repo="globex/safe")
    await town.installed()
    town.installation = town.github.install("Globex")
    await town.github.say_installation(town.installation, "created")
    await town.conveyor.settle()
    async with changed(town.work, GitHubInstallation, town.installation.id) as row:
        row.organisation_id = stranger.organisation_id
    changes = town.github.transfer(town.shop, "Globex")
    await town.say(town.shop, "transferred", changes)
    await town.conveyor.settle()
    project = await town.project(site.project.id)
    assert (project.github_repo, project.github_installation_id) == ("globex/shop", first.id)


async def test_a_name_that_is_another_repository_s_by_now_is_not_followed(town: Town) -> None:
    await town.installed()
    await town.rename("store")
    await town.conveyor.settle()
    newcomer = town.github.add_repository("Acme/Shop")
    await town.github.say_repositories(town.installation, added=(newcomer,))
    await town.conveyor.settle()
    site = await add_site(town.work, github_repo="acme/shop")
    await town.say(town.shop, "renamed", {"repository": {"name": {"from": "shop"}}})
    await town.conveyor.settle()
    assert (await town.project(site.project.id)).github_repo == "acme/shop"


@pytest.mark.parametrize("turn", [2, 4, 5, None])
async def test_any_order_and_repetition_ends_in_the_same_state(
    town: Town, turn: int | None
) -> None:
    """The history turned so that a suspension, a renaming, a removal comes last; and shuffled."""
    site = await add_site(town.work, github_repo="acme/shop")
    for step in _history(town):
        await step
    said = [
        each
        for each in await town.conveyor.fresh()
        if isinstance(each.data, InstallationChanged | RepositoryChanged)
    ]
    assert len(said) == 6
    order = (said[turn:] + said[:turn]) * 2
    if turn is None:
        random.Random(1).shuffle(order)
    for each in order:
        for outcome in await town.conveyor.deliver(each):
            assert outcome == Done()
    assert await town.state() is ACTIVE
    assert await town.seen() == {"acme/market"}
    assert (await town.project(site.project.id)).github_repo == "acme/market"
    deliveries = await every(town.work, WebhookDelivery)
    assert {each.state for each in deliveries} == {DeliveryState.PROCESSED}


def _history(town: Town) -> Any:
    github, installation = town.github, town.installation
    yield github.say_installation(installation, "created")
    github.suspend(installation)
    yield github.say_installation(installation, "suspend")
    github.unsuspend(installation)
    yield github.say_installation(installation, "unsuspend")
    yield town.rename("store")
    yield town.rename("market")
    installation.repositories = {town.shop.id}
    yield github.say_repositories(installation, removed=(town.blog,))


async def test_an_answer_that_was_overtaken_does_not_bring_back_what_was(
    github: FakeGitHub, github_app: GitHubApp, api: Api, work: UnitOfWork
) -> None:
    """Two replicas ask; the one that asked first writes last."""
    github.hooks.url = f"{api.base}/webhooks/github"
    town = Town(github, work, github_app)
    await github.say_installation(town.installation, "created")
    github.suspend(town.installation)
    await github.say_installation(town.installation, "suspend")
    first, second = await town.conveyor.fresh()
    github.unsuspend(town.installation)
    slow = Slow(github_app, town.conveyor, second, github, town.installation)
    await Conveyor(work, github=slow, github_web_url=github.url).deliver(first)
    assert slow.overtaken
    assert await town.state() is SUSPENDED


class Slow:
    """The App, whose first answer is late: meanwhile another replica handles `other`."""

    def __init__(
        self,
        app: GitHubApp,
        conveyor: Conveyor,
        other: Envelope,
        github: FakeGitHub,
        installation: Installation,
    ) -> None:
        self._app, self._conveyor, self._other = app, conveyor, other
        self._github, self._installation = github, installation
        self.overtaken = False

    async def as_app(self, *args: Any, **options: Any) -> Any:
        answer = await self._app.as_app(*args, **options)
        if not self.overtaken:
            self.overtaken = True
            self._github.suspend(self._installation)
            await self._conveyor.deliver(self._other)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app, name)


async def test_while_github_is_away_nothing_is_written_and_the_event_comes_again(
    github: FakeGitHub, github_app: GitHubApp, api: Api, work: UnitOfWork
) -> None:
    github.hooks.url = f"{api.base}/webhooks/github"
    town = Town(github, work, github_app)
    await github.say_installation(town.installation, "created")
    (said,) = await town.conveyor.fresh()
    github.trouble(502, path="/app/installations", left=3)
    with pytest.raises(GitHubUnavailable):
        await town.conveyor.deliver(said)
    assert await every(work, GitHubInstallation) == []
    assert await town.conveyor.deliver(said) == [Done()]
    assert await town.state() is ACTIVE


async def test_what_the_app_may_not_ask_is_believed(
    github: FakeGitHub, github_app: GitHubApp, api: Api, work: UnitOfWork
) -> None:
    github.hooks.url = f"{api.base}/webhooks/github"
    town = Town(github, work, github_app)
    github.trouble(401, path="/app/installations", left=9)
    await town.installed()
    assert await town.seen() == {"acme/shop", "acme/blog"}


@pytest.mark.parametrize(
    ("event", "body"),
    [
        ("installation", {"action": "created", "installation": {"id": 7}}),
        (
            "installation",
            {"action": "created", "installation": {"id": 7, "account": {"login": "a b"}}},
        ),
        ("repository", {"action": "renamed", "repository": {"id": 7, "full_name": "nothing"}}),
    ],
)
async def test_a_payload_that_is_not_understood_is_ignored_with_the_reason(
    github: FakeGitHub, api: Api, work: UnitOfWork, event: str, body: dict[str, Any]
) -> None:
    github.hooks.url = f"{api.base}/webhooks/github"
    await github.hooks.send(event, body)
    await Conveyor(work).settle()
    (delivery,) = await every(work, WebhookDelivery)
    assert delivery.state is DeliveryState.IGNORED
    assert delivery.reason.startswith("the payload is not understood: ")


@pytest.mark.parametrize(
    ("event", "body", "code"),
    [
        ("installation", {"action": "created"}, 400),
        ("installation", {"action": "created", "installation": {"id": 0}}, 400),
        ("installation", {"action": "created", "installation": {"id": 1 << 63}}, 400),
        ("installation", {"action": "No!", "installation": {"id": 1}}, 400),
        ("repository", {"action": "renamed"}, 400),
        ("repository", {"action": "starred", "repository": {"id": 1}}, 202),
        ("ping", {"zen": "Speak like a human."}, 202),
    ],
)
async def test_what_is_no_event_of_ours_is_refused_or_ignored_at_the_door(
    github: FakeGitHub, api: Api, work: UnitOfWork, event: str, body: dict[str, Any], code: int
) -> None:
    github.hooks.url = f"{api.base}/webhooks/github"
    assert (await github.hooks.send(event, body)).status_code == code
    assert await events_of(work.database) == []
    assert len(await every(work, WebhookDelivery)) == (1 if code == 202 else 0)


async def test_an_event_without_a_delivery_is_dropped(work: UnitOfWork) -> None:
    said = InstallationChanged(
        delivery_id=ids.new(ids.Prefix.DELIVERY), installation_id=1, action="created"
    )
    outcome = await Conveyor(work).deliver(envelope(said, subject="dlv_1"))
    assert list(itertools.chain(outcome)) == [Drop("unknown delivery")]
