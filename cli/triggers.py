"""`zeitwork triggers PROJECT`: what asked for deployments, and why nothing happened."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from cli import output
from cli.client import connect
from cli.exits import Exit
from cli.options import Options

_HEADS = "refs/heads/"


async def triggers(
    project: Annotated[str, Parameter(help="Slug or id of the project.")],
    /,
    *,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List what asked for deployments of a project, and what became of it."""
    async with connect(options) as client:
        found = (await client.get(f"/projects/{project}/triggers", limit=limit))["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["WHEN", "BY", "REFERENCE", "COMMIT", "STATE", "DEPLOYMENT OR REASON"],
        [
            [
                output.age(each["created_at"]),
                f"{each['kind']} ({each['actor']})",
                each["ref"].removeprefix(_HEADS),
                (each["commit_sha"] or "")[:8],
                output.state(each["state"]),
                each["deployment_id"] or each["reason"] or "",
            ]
            for each in found
        ],
        empty="Nothing has asked for a deployment yet.",
    )
    return Exit.OK
