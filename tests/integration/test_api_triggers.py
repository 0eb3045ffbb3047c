"""Environments, previews, references and hooks through the API, up to what consumers find."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from consumers.deploys.handler import Deployer
from consumers.deploys.reconciler import PATIENCE, TriggerReconciler
from db.models import Build, DeployHook, Deployment, Preview, Trigger, WebhookDelivery
from db.session import UnitOfWork
from events.triggers import DeployRequested
from producers.webhooks import git
from tests.support.api import Answer, Api, assert_problem, dependencies, serving
from tests.support.factories import (
    Conveyor,
    MovableClock,
    Site,
    add_site,
    changed,
    envelope,
    every,
    fetch,
    sha,
)
from tests.support.previews import add_pull
from tests.support.running import KnownRefs
from zeitwork import clock
from zeitwork.config import GitHubSettings

HOOK_KEY = "key-of-the-installation"
PUSH = {"ref": "refs/heads/main", "before": sha(1), "after": sha(2), "message": "a change"}


@pytest.fixture
async def api(work: UnitOfWork, bus: Any, tmp_path: Any, traces: None) -> Any:
    async with serving(dependencies(work, bus, tmp_path, hook_key=HOOK_KEY)) as served:
        yield served


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work, clone_url="https://git.test/shop.git")


async def found(work: UnitOfWork, **commits: str) -> KnownRefs:
    """Have consumers look up every reference that was asked for."""
    refs = KnownRefs(commits)
    deployer = Deployer(work, refs, web_url="https://git.acme.test/")
    for trigger in await every(work, Trigger):
        said = DeployRequested(trigger_id=trigger.id)
        await deployer.deploy_requested(envelope(said, subject=trigger.id))
    return refs


async def test_a_branch_is_looked_up_by_a_consumer_and_deployed(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    answer = await api.post(f"/projects/{site.project.slug}/deployments", {"ref": "v1"})
    assert answer.status == 202
    assert (answer.json["state"], answer.json["deployment_id"]) == ("pending", None)
    assert await every(work, Deployment) == []
    refs = await found(work, v1=sha(7))
    assert refs.asked == [("https://git.test/shop.git", "v1")]
    (deployment,) = await every(work, Deployment)
    assert (deployment.commit_sha, deployment.ref) == (sha(7), "v1")
    shown = (await api.get(f"/triggers/{answer.json['id']}")).json
    assert (shown["state"], shown["deployment_id"]) == ("deployed", deployment.id)
    await found(work, v1=sha(8))  # the same request once more
    assert len(await every(work, Deployment)) == 1


async def test_a_project_on_github_is_looked_up_and_built_on_the_github_of_the_settings(
    work: UnitOfWork, bus: Any, tmp_path: Any, traces: None
) -> None:
    await add_site(work, "shop", github_repo="acme/shop", clone_url=None)
    own = GitHubSettings(web_url="https://git.acme.test")
    async with serving(dependencies(work, bus, tmp_path, github=own)) as api:
        await api.post("/projects/shop/deployments", {"ref": "v1"})
        await api.post("/projects/shop/deployments", {"commit_sha": sha(7)})
    refs = await found(work, v1=sha(8))
    assert refs.asked == [("https://git.acme.test/acme/shop.git", "v1")]
    builds = await every(work, Build)
    assert {each.clone_url for each in builds} == {"https://git.acme.test/acme/shop.git"}
    assert len(builds) == 2


async def test_a_reference_that_nobody_has_says_so(api: Api, work: UnitOfWork, site: Site) -> None:
    path = f"/projects/{site.project.slug}"
    await api.post(f"{path}/deployments", {"ref": "gone"})
    await found(work)
    (shown,) = (await api.get(f"{path}/triggers")).json["items"]
    assert (shown["state"], shown["reason"]) == ("failed", "no branch or tag 'gone'")


async def test_a_full_sha_needs_no_look(api: Api, work: UnitOfWork, site: Site) -> None:
    await api.post(f"/projects/{site.project.slug}/deployments", {"ref": sha(9)})
    assert (await found(work)).asked == []
    (deployment,) = await every(work, Deployment)
    assert deployment.commit_sha == sha(9)


async def test_what_nobody_looks_up_ends(api: Api, work: UnitOfWork, site: Site) -> None:
    await api.post(f"/projects/{site.project.slug}/deployments", {"ref": "main"})
    with clock.using(MovableClock()) as time:
        await TriggerReconciler(work).round()
        time.advance(PATIENCE.total_seconds() + 5)
        await TriggerReconciler(work).round()
    (trigger,) = await every(work, Trigger)
    assert trigger.state == "failed"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ref": "main", "commit_sha": sha(1)},
        {"ref": "--upload-pack=x"},
        {"ref": "a b"},
        {"ref": "a*"},
    ],
)
async def test_a_reference_is_one_and_names_something(
    api: Api, site: Site, body: dict[str, str]
) -> None:
    answer = await api.post(f"/projects/{site.project.slug}/deployments", body)
    assert_problem(answer, 400, "invalid_fields")


async def test_an_environment_follows_a_pattern_and_goes_again(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    path = f"/projects/{site.project.slug}/environments"
    made = await api.post(path, {"name": "staging", "branch": "release/*"})
    assert made.status == 201
    assert made.json["host"] == f"{site.project.slug}-staging.apps.test"
    assert made.json["kind"] == "custom"
    assert_problem(await api.post(path, {"name": "staging", "branch": "x"}), 409, "conflict")
    changed_ = await api.call("PATCH", f"{path}/staging", json={"branch": "next"})
    assert changed_.json["branch"] == "next"
    gone = await api.call("DELETE", f"{path}/staging")
    assert (gone.status, gone.json["closing"]) == (202, True)
    answer = await api.post(
        f"/projects/{site.project.slug}/deployments",
        {"commit_sha": sha(1), "environment": "staging"},
    )
    assert_problem(answer, 409, "conflict")
    refused = await api.call("DELETE", f"{path}/production")
    assert_problem(refused, 409, "conflict")


async def test_a_project_changes_only_what_is_named(api: Api, site: Site) -> None:
    path = f"/projects/{site.project.slug}"
    before = (await api.get(path)).json
    changes = {
        "include_paths": ["web/**"],
        "previews_enabled": True,
        "preview_forks": "allow",
        "preview_limit": 3,
    }
    after = (await api.call("PATCH", path, json=changes)).json
    assert after == {**before, **changes}
    refused = await api.call("PATCH", path, json={"preview_limit": 0})
    assert_problem(refused, 400, "invalid_fields")
    null = await api.call("PATCH", path, json={"preview_limit": None})
    assert_problem(null, 400, "invalid_input")


async def test_a_removed_project_deploys_nothing_and_its_host_is_free_once_it_is_gone(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    path = f"/projects/{site.project.slug}"
    await api.post(f"{path}/deployments", {"commit_sha": sha(1)})
    answer = await api.call("DELETE", path)
    assert (answer.status, answer.json["closing"]) == (202, True)
    (deployment,) = await every(work, Deployment)
    assert deployment.state == "cancelled"
    again = await api.post(f"{path}/deployments", {"commit_sha": sha(2)})
    assert_problem(again, 409, "conflict")


async def test_only_the_commit_that_was_looked_at_is_approved(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    await api.call("PATCH", f"/projects/{site.project.slug}", json={"previews_enabled": True})
    await add_pull(work, "opened", head_repo="mallory/shop", head_sha=sha(1))
    conveyor = Conveyor(work)
    await conveyor.settle()
    (shown,) = (await api.get(f"/projects/{site.project.slug}/previews")).json["items"]
    assert (shown["state"], shown["head_sha"]) == ("waiting", sha(1))
    path = f"/previews/{shown['id']}/approve"
    assert_problem(await api.post(path, {"commit_sha": sha(2)}), 409, "conflict")
    assert_problem(await api.post(path, {}), 400, "invalid_fields")
    assert (await api.post(path, {"commit_sha": sha(1)})).status == 202
    await conveyor.settle()
    (deployment,) = await every(work, Deployment)
    view = (await api.get(f"/deployments/{deployment.id}")).json
    assert (view["trusted"], view["commit_sha"]) == (False, sha(1))
    assert view["commit_url"].startswith(f"http://{deployment.host}")
    (preview,) = await every(work, Preview)
    assert preview.approved_by == "api"
    one = (await api.get(f"/previews/{preview.id}")).json
    assert one["url"] == f"http://{site.project.slug}-pr-42.test:8000/"


async def make_hook(api: Api, site: Site, **body: Any) -> Any:
    answer = await api.post(f"/projects/{site.project.slug}/hooks", body)
    assert answer.status == 201, answer.body
    return answer.json


async def call_hook(api: Api, path: str) -> Answer:
    return await api.call("POST", path.removeprefix("/api/v1"), token=None)


async def test_whoever_knows_a_hooks_address_can_deploy(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site, ref="v2")
    assert (await call_hook(api, hook["path"])).status == 202
    await found(work, v2=sha(3))
    (deployment,) = await every(work, Deployment)
    assert (deployment.commit_sha, deployment.actor) == (sha(3), f"hook:{hook['id']}")
    (listed,) = (await api.get(f"/projects/{site.project.slug}/hooks")).json["items"]
    assert listed["used_at"] is not None
    assert not {"path", "signing_key"} & listed.keys()


async def test_the_secret_is_nowhere_but_with_its_owner(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site)
    secret = hook["path"].partition("secret=")[2]
    row = await fetch(work, DeployHook, hook["id"])
    values = [str(getattr(row, column.name)) for column in DeployHook.__table__.columns]
    assert len(secret) >= 40
    assert not [each for each in values if secret in each or hook["signing_key"] in each]


async def test_a_rotated_or_removed_hook_lets_nobody_in(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site)
    rotated = (await api.post(f"/hooks/{hook['id']}/rotate")).json
    assert_problem(await call_hook(api, hook["path"]), 401, "unauthenticated")
    assert_problem(await send(api, hook, PUSH), 401, "bad_signature")
    assert (await call_hook(api, rotated["path"])).status == 202
    assert (await send(api, rotated, PUSH)).status == 202
    assert (await api.call("DELETE", f"/hooks/{hook['id']}")).status == 200
    assert_problem(await call_hook(api, rotated["path"]), 401, "unauthenticated")
    assert_problem(await send(api, rotated, PUSH), 401, "unauthenticated")


@pytest.mark.parametrize("hook", ["x", "prj_00000000000000000000000000", "../x", "hok_0"])
async def test_a_stranger_learns_nothing_of_hooks(api: Api, hook: str) -> None:
    answer = await api.call("POST", f"/hooks/{hook}?secret=x", token=None)
    assert answer.status in {401, 404}


async def send(
    api: Api,
    hook: Any,
    push: Any,
    *,
    ahead: timedelta = timedelta(0),
    changes: Mapping[str, str] | None = None,
) -> Answer:
    """A push, signed as the documentation says."""
    body = json.dumps(push).encode()
    timestamp = str(int((clock.now() + ahead).timestamp()))
    headers = {
        "X-Zeitwork-Timestamp": timestamp,
        "X-Zeitwork-Signature": git.sign(hook["signing_key"], timestamp, body),
        **(changes or {}),
    }
    path = hook["signing_path"].removeprefix("/api/v1")
    return await api.call("POST", path, data=body, token=None, headers=headers)


async def test_a_signed_push_of_any_host_deploys_the_project(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    await add_site(work)  # on the same repository of GitHub, which this is not about
    hook = await make_hook(api, site)
    answer = await send(api, hook, PUSH)
    assert (answer.status, answer.json) == (202, {"outcome": "accepted"})
    await Conveyor(work).settle()
    (deployment,) = await every(work, Deployment)
    assert (deployment.project_id, deployment.commit_sha) == (site.project.id, sha(2))


async def test_a_repeated_push_is_acted_on_once_and_an_old_one_never(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site)
    body = json.dumps(PUSH).encode()
    timestamp = str(int(clock.now().timestamp()))
    headers = {
        "X-Zeitwork-Timestamp": timestamp,
        "X-Zeitwork-Signature": git.sign(hook["signing_key"], timestamp, body),
    }
    path = hook["signing_path"].removeprefix("/api/v1")
    outcomes = [
        (await api.call("POST", path, data=body, token=None, headers=headers)).json["outcome"]
        for _ in range(2)
    ]
    assert outcomes == ["accepted", "duplicate"]
    assert len(await every(work, WebhookDelivery)) == 1
    for minutes in (-6, 6):
        late = await send(api, hook, PUSH, ahead=timedelta(minutes=minutes))
        assert_problem(late, 401, "bad_signature")


@pytest.mark.parametrize(
    "changes",
    [
        {"X-Zeitwork-Timestamp": "1"},
        {"X-Zeitwork-Timestamp": ""},
        {"X-Zeitwork-Timestamp": "9" * 30},
        {"X-Zeitwork-Signature": ""},
        {"X-Zeitwork-Signature": "v1=" + "0" * 64},
        {"X-Zeitwork-Signature": "v1=\xff"},
    ],
)
async def test_a_push_that_is_not_signed_is_refused(
    api: Api, work: UnitOfWork, site: Site, changes: dict[str, str]
) -> None:
    hook = await make_hook(api, site)
    assert_problem(await send(api, hook, PUSH, changes=changes), 401, "bad_signature")
    assert await every(work, WebhookDelivery) == []


@pytest.mark.parametrize(
    "push", [{}, [], {**PUSH, "ref": "main"}, {**PUSH, "after": "HEAD"}, {**PUSH, "clone_url": "x"}]
)
async def test_a_signed_push_of_the_wrong_form_is_refused(
    api: Api, work: UnitOfWork, site: Site, push: Any
) -> None:
    hook = await make_hook(api, site)
    assert_problem(await send(api, hook, push), 400, "malformed_body")
    assert await every(work, WebhookDelivery) == []


async def test_the_projects_list_says_why_nothing_happened(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site)
    await send(api, hook, {**PUSH, "message": "typo [skip ci]"})
    await Conveyor(work).settle()
    (shown,) = (await api.get(f"/projects/{site.project.slug}/triggers")).json["items"]
    assert (shown["state"], shown["reason"]) == ("skipped", "the commit message says [skip ci]")


async def test_a_hook_outlives_its_environment_without_harm(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    hook = await make_hook(api, site)
    async with changed(work, DeployHook, hook["id"]) as row:
        row.environment = "gone"
    assert_problem(await call_hook(api, hook["path"]), 404, "not_found")
