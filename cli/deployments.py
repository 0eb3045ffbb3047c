"""`zeitwork deploy`, `zeitwork deployments …`: deploy a commit, list, show, cancel."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import Client, connect
from cli.exits import Exit
from cli.options import Options
from zeitwork import clock, subprocesses
from zeitwork.errors import InvalidInput, ProgramFailed, SourceUnavailable, TimedOut

app = App(name="deployments", help="Deployments: list, show, cancel.")
_POLL_SECONDS = 0.25
_GIT_SECONDS = 30.0
_LOG_TAIL = 20
ENDED = frozenset({"active", "failed", "cancelled", "superseded", "stopped"})


async def deploy(
    project: Annotated[str, Parameter(help="Slug or id.")],
    /,
    *,
    commit: Annotated[
        str | None, Parameter(help="Full SHA; default: HEAD of --source or of this directory.")
    ] = None,
    ref: Annotated[
        str | None, Parameter(help="Branch, tag or SHA, looked up where the project is cloned.")
    ] = None,
    environment: Annotated[str, Parameter(help="Environment to deploy to.")] = "production",
    source: Annotated[
        Path | None, Parameter(help="Local repository to deploy from; default: the project's own.")
    ] = None,
    wait: Annotated[bool, Parameter(help="Wait until it serves or fails.")] = True,
    wait_seconds: Annotated[float, Parameter(name="--timeout", help="Seconds to wait.")] = 900.0,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Deploy a commit, branch or tag; prints the URL once it serves."""
    if commit is not None and ref is not None:
        raise InvalidInput("Give --commit or --ref, not both.")
    sha = None if ref is not None else commit or await head(source or Path.cwd())
    clone_url = source.resolve().as_uri() if source is not None else None
    asked = {"commit_sha": sha, "ref": ref, "environment": environment, "clone_url": clone_url}
    async with connect(options) as client:
        created = await client.post(f"/projects/{project}/deployments", asked)
        if ref is not None:
            created = await _found(client, created, wait_seconds)
        if wait:
            return await _report(client, await _wait(client, created, wait_seconds), options)
    if options.json:
        output.emit_json(created)
    else:
        output.out.print(created["id"])
    return Exit.OK


@app.command(name="list")
async def list_(
    *,
    project: Annotated[str | None, Parameter(help="Only of this project.")] = None,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List deployments, newest first."""
    async with connect(options) as client:
        found = (await client.get("/deployments", project=project, limit=limit))["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["DEPLOYMENT", "#", "STATE", "COMMIT", "URL", "CREATED", "DETAIL"],
        [
            [
                each["id"],
                str(each["number"]),
                output.state(each["phase"]),
                each["commit_sha"][:8],
                each["url"],
                output.age(each["created_at"]),
                each["error_code"] or each["waiting_reason"] or "",
            ]
            for each in found
        ],
        empty="No deployments yet. Push to GitHub, or: zeitwork deploy PROJECT",
    )
    return Exit.OK


@app.command
async def show(
    deployment: Annotated[str, Parameter(help="The deployment's id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show a deployment with its builds and instances."""
    async with connect(options) as client:
        found = await client.get(f"/deployments/{deployment}")
    if options.json:
        output.emit_json(found)
    else:
        _print(found)
    return Exit.OK


@app.command
async def cancel(
    deployment: Annotated[str, Parameter(help="The deployment's id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Cancel a deployment that does not serve yet; what serves goes on serving."""
    async with connect(options) as client:
        await client.post(f"/deployments/{deployment}/cancel", {})
        found = await client.get(f"/deployments/{deployment}")
    if options.json:
        output.emit_json(found)
    else:
        _print(found)
    return Exit.OK


async def head(repository: Path) -> str:
    """The full SHA of HEAD.

    Raises:
        InvalidInput: not a git repository with a commit.
    """
    try:
        found = await subprocesses.check(
            ["git", "-C", str(repository), "rev-parse", "HEAD"], timeout=_GIT_SECONDS
        )
    except ProgramFailed as error:
        raise InvalidInput(
            f"{repository} is not a git repository with a commit: give --commit or --source."
        ) from error
    return found.strip()


async def _found(client: Client, trigger: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The deployment that a trigger led to, once the reference is looked up.

    Raises:
        SourceUnavailable: it led to none; the message says why.
        TimedOut: nobody has looked it up.
    """
    path = f"/triggers/{trigger['id']}"
    try:
        async with asyncio.timeout(seconds):
            with output.progress(f"Looking up {trigger['ref']} …"):
                while (found := await client.get(path))["state"] == "pending":
                    await clock.sleep(_POLL_SECONDS)
    except TimeoutError as error:
        raise TimedOut(f"{trigger['ref']} was not looked up within {seconds:g} s.") from error
    if found["deployment_id"] is None:
        raise SourceUnavailable(found["reason"])
    return await client.get(f"/deployments/{found['deployment_id']}")


async def _wait(client: Client, created: dict[str, Any], seconds: float) -> dict[str, Any]:
    path = f"/deployments/{created['id']}"
    try:
        async with asyncio.timeout(seconds):
            with output.progress(f"Deploying {created['commit_sha'][:8]} …") as status:
                while (found := await client.get(path))["state"] not in ENDED:
                    status.update(found["waiting_reason"] or f"{found['phase'].capitalize()} …")
                    await clock.sleep(_POLL_SECONDS)
                return found
    except TimeoutError as error:
        raise TimedOut(
            f"{created['id']} has not ended after {seconds:g} s; it goes on. "
            f"Look with: zeitwork deployments show {created['id']}"
        ) from error


async def _report(client: Client, found: dict[str, Any], options: Options) -> int:
    ok = found["state"] == "active"
    if options.json:
        output.emit_json(found)
    elif ok:
        output.out.print(found["url"])
    else:
        output.err.print(found["id"], output.state(found["state"]))
        output.err.print(output.text(f"{found['error_code']}: {found['error_detail']}"))
        for build in found["builds"]:
            lines = await client.pages(f"/builds/{build['id']}/logs", "after")
            for line in lines[-_LOG_TAIL:]:
                output.err.print(output.text(f"  {line['line']}"))
    return Exit.OK if ok else Exit.DEPLOYMENT_FAILED


def _print(found: dict[str, Any]) -> None:
    output.facts(
        {
            "Deployment": f"{found['id']} (#{found['number']})",
            "State": output.state(found["phase"]),
            "Waiting": found["waiting_reason"],
            "Error": found["error_code"] and f"{found['error_code']}: {found['error_detail']}",
            "Commit": f"{found['commit_sha'][:12]} {found['commit_message']}".strip(),
            "By": found["actor"],
            "URL": found["url"],
            "Created": output.age(found["created_at"]),
            "Timeline": f"zeitwork events timeline {found['id']}",
        }
    )
    output.out.print()
    output.table(
        ["BUILD", "STATE", "ERROR"],
        [[b["id"], output.state(b["state"]), b["error_code"] or ""] for b in found["builds"]],
        empty="No builds.",
    )
    output.out.print()
    output.table(
        ["INSTANCE", "KIND", "STATE", "NODE", "ADDRESS", "ERROR"],
        [
            [
                each["id"],
                each["kind"],
                output.state(each["state"]),
                each["node_id"] or "",
                f"{each['host']}:{each['port']}" if each["port"] else "",
                each["error_code"] or "",
            ]
            for each in found["instances"]
        ],
        empty="No instances yet.",
    )
