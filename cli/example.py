"""`zeitwork up --example`: push the bundled site through the real webhook path."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.client import ApiProblem, Client
from cli.deployments import ENDED
from cli.platform_file import Platform
from cli.projects import ensure_organisation
from producers.webhooks.signatures import sign
from zeitwork import clock, config, ids, outbound, subprocesses
from zeitwork.errors import InstanceFailed, TimedOut, Unavailable

NAME = "hello"
_REPO = "zeitwork-examples/hello"
_SITE = Path(__file__).parent.parent / "examples" / "hello"
_GIT_SECONDS = 30.0
_DEADLINE_SECONDS = 120.0
_POLL_SECONDS = 0.02
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Deployed:
    """The example serves.

    Attributes:
        seconds: from the webhook's 202 to the first 200; None when it was serving already.
    """

    url: str
    host: str
    seconds: float | None


async def deploy_example(platform: Platform) -> Deployed:
    """Make sure that the example serves, by pushing it if it does not.

    Raises:
        InstanceFailed: its deployment ended badly; the message says why.
        TimedOut: it did not serve in time.
    """
    repository = await make_repository(_SITE, platform.data_dir / "example" / NAME)
    async with outbound.session(token=platform.api_token) as session:
        client = Client(session, platform.api_url)
        project = await _project(client, repository)
        serving = await _already_active(client)
        url, host = project["environments"][0]["url"], project["environments"][0]["host"]
        began = clock.monotonic()
        if not serving:
            await push(session, platform, repository, repo=_REPO)
            began = clock.monotonic()
        await _first_200(client, session, platform, host)
    return Deployed(url, host, None if serving else clock.monotonic() - began)


async def make_repository(site: Path, target: Path) -> Path:
    """A git repository whose HEAD has the files of `site`; a commit is made when they differ."""
    env = {
        "PATH": config.search_path(),
        "HOME": str(target),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_AUTHOR_NAME": "Zeitwork",
        "GIT_AUTHOR_EMAIL": "example@zeitwork.invalid",
        "GIT_COMMITTER_NAME": "Zeitwork",
        "GIT_COMMITTER_EMAIL": "example@zeitwork.invalid",
    }

    async def git(*arguments: str) -> str:
        return await subprocesses.check(
            ["git", "-C", str(target), *arguments], timeout=_GIT_SECONDS, env=env
        )

    await asyncio.to_thread(shutil.copytree, site, target, dirs_exist_ok=True)
    if not (target / ".git").exists():
        await git("init", "--quiet", "--initial-branch=main")
    await git("add", "--all")
    if await git("status", "--porcelain"):
        await git("commit", "--quiet", "--message", "Say hello")
    return target


async def push(
    session: outbound.Session, platform: Platform, repository: Path, *, repo: str
) -> str:
    """Send what GitHub sends after `git push`, signed; the delivery's id."""
    sha = (
        await subprocesses.check(
            ["git", "-C", str(repository), "rev-parse", "HEAD"], timeout=_GIT_SECONDS
        )
    ).strip()
    payload = {
        "ref": "refs/heads/main",
        "before": "0" * 40,
        "after": sha,
        "deleted": False,
        "repository": {"full_name": repo, "clone_url": repository.as_uri()},
        "head_commit": {"id": sha, "message": "Say hello"},
        "pusher": {"name": "zeitwork"},
    }
    body = json.dumps(payload).encode()
    guid = str(ids.new_uuid())
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid,
        "X-Hub-Signature-256": sign(platform.webhook_secret, body),
    }
    url = f"{platform.api_url}/api/v1/webhooks/github"
    async with session.post(url, data=body, headers=headers) as answer:
        if answer.status != 202:  # noqa: PLR2004 - Accepted
            raise Unavailable(f"The webhook was answered with {answer.status}.")
    return guid


async def _project(client: Client, repository: Path) -> dict[str, Any]:
    try:
        return await client.get(f"/projects/{NAME}")
    except ApiProblem as problem:
        if problem.status != _NOT_FOUND:
            raise
    await ensure_organisation(client, "examples")
    return await client.post(
        "/projects",
        {
            "organisation": "examples",
            "slug": NAME,
            "github_repo": _REPO,
            "clone_url": repository.as_uri(),
        },
    )


async def _already_active(client: Client) -> bool:
    newest = await client.get("/deployments", project=NAME, limit=20)
    return any(each["state"] == "active" for each in newest["items"])


async def _first_200(
    client: Client, session: outbound.Session, platform: Platform, host: str
) -> None:
    deadline = clock.monotonic() + _DEADLINE_SECONDS
    checked = clock.monotonic()
    while clock.monotonic() < deadline:
        async with session.get(platform.proxy_url, headers={"Host": host}) as answer:
            if answer.ok:
                return
        if clock.monotonic() - checked > 1:
            checked = clock.monotonic()
            await _raise_if_failed(client)
        await clock.sleep(_POLL_SECONDS)
    raise TimedOut(f"{host} did not answer with 200 within {_DEADLINE_SECONDS:g} s.")


async def _raise_if_failed(client: Client) -> None:
    newest = (await client.get("/deployments", project=NAME, limit=1))["items"]
    if newest and newest[0]["state"] in ENDED - {"active"}:
        raise InstanceFailed(
            f"The example's deployment {newest[0]['state']}: "
            f"{newest[0]['error_code']}: {newest[0]['error_detail']}"
        )
