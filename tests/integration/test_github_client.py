"""The client against a GitHub on a real socket: tokens, limits, repetitions, refusals."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from examples.fake_github.server import FakeGitHub
from tests.support.factories import MovableClock
from tests.support.github import settings_for
from zeitwork import clock
from zeitwork.errors import (
    GitHubCredentials,
    GitHubForbidden,
    GitHubLimited,
    GitHubNotFound,
    GitHubRefused,
    GitHubUnavailable,
)
from zeitwork.github import deliveries, installations
from zeitwork.github.app import GitHubApp, Scope, configured
from zeitwork.github.posts import Posts

SHA = "a" * 40


def asked_for_tokens(github: FakeGitHub) -> int:
    return sum(path.endswith("/access_tokens") for _, path in github.calls)


async def test_a_token_is_asked_for_once_by_many_who_wait(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    scope = Scope(github.install("acme").id)
    found = await asyncio.gather(*(github_app.token(scope) for _ in range(20)))
    assert len(set(found)) == 1
    assert await github_app.token(scope) == found[0]
    assert asked_for_tokens(github) == 1


async def test_one_who_gives_up_takes_the_token_from_nobody(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    scope = Scope(github.install("acme").id)
    first = asyncio.ensure_future(github_app.token(scope))
    second = asyncio.ensure_future(github_app.token(scope))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert first.cancelled()
    assert asked_for_tokens(github) == 1


async def test_a_token_is_renewed_before_it_ends(github: FakeGitHub, github_app: GitHubApp) -> None:
    scope = Scope(github.install("acme").id)
    github.state.token_life = timedelta(minutes=11)
    fresh = await github_app.token(scope)
    assert await github_app.token(scope) == fresh
    github.state.tokens.clear()
    github.state.token_life = timedelta(minutes=9)
    other = Scope(scope.installation_id, permissions=(("contents", "read"),))
    assert await github_app.token(other) != await github_app.token(other)
    assert await github_app.token(scope) == fresh


async def test_each_scope_has_a_token_of_its_own(github: FakeGitHub, github_app: GitHubApp) -> None:
    github.add_repository("acme/shop")
    installation = github.install("acme")
    narrow = Scope(installation.id, "shop", (("contents", "read"),))
    token = github.state.tokens[await github_app.token(narrow)]
    assert token.permissions == {"contents": "read"}
    assert token.repositories is not None
    assert await github_app.token(Scope(installation.id)) != token.text


async def test_a_failed_token_is_told_to_all_and_asked_for_anew(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    scope = Scope(github.install("acme").id)
    github.trouble(500, path="access_tokens")
    found = await asyncio.gather(
        *(github_app.token(scope) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in found] == [GitHubUnavailable] * 3
    assert asked_for_tokens(github) == 1
    assert await github_app.token(scope)


async def test_a_token_that_was_revoked_is_replaced(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    github.add_repository("acme/shop")
    installation = github.install("acme")
    await github_app.token(Scope(installation.id))
    github.state.tokens.clear()
    found = [
        each.full_name async for each in installations.repositories(github_app, installation.id)
    ]
    assert found == ["acme/shop"]


async def test_a_suspended_installation_gets_no_token(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    installation = github.install("acme")
    github.suspend(installation)
    with pytest.raises(GitHubForbidden, match="suspended"):
        await github_app.token(Scope(installation.id))


async def test_a_key_of_another_app_is_not_taken(github: FakeGitHub, tmp_path: Path) -> None:
    stranger = FakeGitHub(app_id=github.app_id)
    stranger.url = github.url
    app = configured(settings_for(stranger, tmp_path))
    assert app is not None
    await app.start()
    try:
        with pytest.raises(GitHubCredentials) as caught:
            await installations.installation(app, 1)
        assert "eyJ" not in str(caught.value)
    finally:
        await app.stop()


async def test_every_page_of_a_long_list_is_read(github: FakeGitHub, github_app: GitHubApp) -> None:
    for number in range(230):
        github.add_repository(f"acme/r{number}")
    installation = github.install("acme")
    found = {each.id async for each in installations.repositories(github_app, installation.id)}
    assert found == github.state.repositories.keys()


async def test_after_a_limit_nothing_is_sent_until_it_is_over(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    installation = github.install("acme")
    with clock.using(MovableClock()):
        github.trouble(429, path="/app/installations", headers={"Retry-After": "30"})
        with pytest.raises(GitHubLimited) as caught:
            await installations.installation(github_app, installation.id)
        assert caught.value.seconds == 30
        sent = len(github.calls)
        with pytest.raises(GitHubLimited):
            await installations.installation(github_app, installation.id)
        assert len(github.calls) == sent


async def test_a_limit_of_one_installation_leaves_the_others_alone(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    github.add_repository("acme/shop")
    github.add_repository("other/shop")
    mine, theirs = github.install("acme"), github.install("other")
    github.trouble(
        403, path="/statuses/", headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "0"}
    )
    status = {"state": "pending", "context": "c"}
    with pytest.raises(GitHubLimited):
        await Posts(github_app, mine.id, "acme/shop").status(SHA, status)
    await Posts(github_app, theirs.id, "other/shop").status(SHA, status)


@pytest.mark.parametrize("status", [500, 502, 0])
async def test_a_question_is_asked_again_when_the_answer_is_lost(
    github: FakeGitHub, github_app: GitHubApp, status: int
) -> None:
    installation = github.install("acme")
    github.trouble(status, path="/app/installations", left=2)
    found = await installations.installation(github_app, installation.id)
    assert found is not None
    assert found.account.login == "acme"


async def test_what_may_have_happened_is_not_done_twice(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    repository = github.add_repository("acme/shop")
    posts = Posts(github_app, github.install("acme").id, "acme/shop")
    github.trouble(0, path="/deployments", method="POST", done=True)
    with pytest.raises(GitHubUnavailable):
        await posts.deployment("dep_1", {"ref": SHA, "environment": "production"})
    assert len(repository.deployments) == 1
    found = await posts.deployment_find("dep_1", sha=SHA, environment="production")
    assert found == repository.deployments[0]["id"]
    assert await posts.deployment_find("dep_2", sha=SHA, environment="production") is None


async def test_a_renamed_repository_is_followed_with_the_same_method(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    repository = github.add_repository("acme/shop")
    posts = Posts(github_app, github.install("acme").id, "acme/shop")
    github.rename(repository, "store")
    await posts.status(SHA, {"state": "success", "context": "c"})
    assert [each["state"] for each in repository.statuses] == ["success"]


async def test_no_token_goes_to_another_server(github: FakeGitHub, github_app: GitHubApp) -> None:
    posts = Posts(github_app, github.install("acme").id, "acme/shop")
    thief = FakeGitHub()
    await thief.start()
    try:
        github.trouble(307, path="/statuses/", headers={"Location": f"{thief.url}/app/x"})
        with pytest.raises(GitHubRefused, match="another server"):
            await posts.status(SHA, {"state": "success"})
        link = {"Link": f'<{thief.url}/installation/repositories>; rel="next"'}
        body = '{"total_count": 0, "repositories": []}'
        github.trouble(200, path="/installation/repositories", headers=link, body=body)
        with pytest.raises(GitHubRefused, match="elsewhere"):
            async for _ in installations.repositories(github_app, posts.installation_id):
                pass
        assert thief.calls == []
    finally:
        await thief.stop()


@pytest.mark.parametrize("body", ["<html>", '{"id": 1', "[]", "{}", '{"id": "x"}', "[" * 100_000])
async def test_an_answer_that_is_none_is_said_so(
    github: FakeGitHub, github_app: GitHubApp, body: str
) -> None:
    installation = github.install("acme")
    github.trouble(200, path="/app/installations", left=9, body=body)
    with pytest.raises(GitHubUnavailable):
        await installations.installation(github_app, installation.id)


async def test_a_server_that_is_away_is_unavailable_and_said_in_our_words(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    await github.stop()
    with pytest.raises(GitHubUnavailable, match="cannot be reached"):
        await installations.installation(github_app, 1)


async def test_what_is_not_there_is_not_found(github: FakeGitHub, github_app: GitHubApp) -> None:
    assert await installations.installation(github_app, 1) is None
    with pytest.raises(GitHubNotFound):
        await deliveries.ask_again(github_app, 1)
    github.add_repository("acme/shop")
    installation = github.install("acme", github.add_repository("acme/other"))
    with pytest.raises(GitHubNotFound):
        await Posts(github_app, installation.id, "acme/shop").comment(1, "hello")


async def test_a_check_run_and_a_comment_are_kept_up_to_date(
    github: FakeGitHub, github_app: GitHubApp
) -> None:
    repository = github.add_repository("acme/shop")
    posts = Posts(github_app, github.install("acme").id, "acme/shop")
    check = await posts.check("dep_1", {"name": "n", "head_sha": SHA, "status": "queued"})
    assert await posts.check_find("dep_1", sha=SHA, name="n") == check
    assert await posts.check_find("dep_2", sha=SHA, name="n") is None
    await posts.check_update(check, {"status": "completed", "conclusion": "success"})
    assert [each["conclusion"] for each in repository.check_runs] == ["success"]
    comment = await posts.comment(7, "first")
    await posts.comment_update(comment, "second")
    assert [(each["issue"], each["body"]) for each in repository.comments] == [(7, "second")]
