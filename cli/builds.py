"""`zeitwork builds …`: what is built and what waits, where it stands, and an end to it."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.exits import Exit
from cli.options import Flag, Options

app = App(name="builds", help="Builds: list, show, cancel.")


@app.command(name="list")
async def list_(
    *,
    project: Annotated[str | None, Parameter(help="Only of this project.")] = None,
    waiting: Annotated[bool, Flag, Parameter(help="Only those that wait or run.")] = False,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List builds, newest first, with their places in the queue."""
    async with connect(options) as client:
        found = await client.get(
            "/builds", project=project, limit=limit, open="true" if waiting else None
        )
    if options.json:
        output.emit_json(found["items"])
        return Exit.OK
    output.table(
        ["BUILD", "STATE", "QUEUE", "BEGINS", "COMMIT", "PRIORITY", "CREATED", "ERROR"],
        [
            [
                each["id"],
                output.state(each["state"]),
                "" if each["position"] is None else str(each["position"]),
                _begins(each),
                each["commit_sha"][:8],
                each["priority"],
                output.age(each["created_at"]),
                each["error_code"] or "",
            ]
            for each in found["items"]
        ],
        empty="No builds.",
    )
    return Exit.OK


@app.command
async def show(
    build: Annotated[str, Parameter(help="The build's id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show a build, and its place in the queue while it waits."""
    async with connect(options) as client:
        found = await client.get(f"/builds/{build}")
    _print(found, options)
    return Exit.OK


@app.command
async def cancel(
    build: Annotated[str, Parameter(help="The build's id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Cancel a build that waits or runs, and its deployment; what serves goes on serving."""
    async with connect(options) as client:
        found = await client.post(f"/builds/{build}/cancel", {})
    _print(found, options)
    return Exit.OK


def _print(found: dict[str, Any], options: Options) -> None:
    if options.json:
        output.emit_json(found)
        return
    place = None if found["position"] is None else f"number {found['position']}"
    output.facts(
        {
            "Build": found["id"],
            "State": output.state(found["state"]),
            "Error": found["error_code"] and f"{found['error_code']}: {found['error_detail']}",
            "Queue": place,
            "Begins": _begins(found) or None,
            "Priority": found["priority"],
            "Commit": found["commit_sha"][:12],
            "Builder": found["builder"],
            "Deployment": found["deployment_id"],
            "Created": output.age(found["created_at"]),
            "Log": f"zeitwork logs {found['deployment_id']} --build",
        }
    )


def _begins(found: dict[str, Any]) -> str:
    """When it is expected to begin; empty where nobody can tell."""
    expected = found["expected_start_at"]
    return "" if expected is None else output.until(expected)
