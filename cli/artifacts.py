"""`zeitwork artifacts …`: what is stored of builds, and why it is kept."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.exits import Exit
from cli.options import Options

app = App(name="artifacts", help="Artifacts: list.")


@app.command(name="list")
async def list_(
    *,
    project: Annotated[str | None, Parameter(help="Only of this project.")] = None,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List artifacts, newest first, with what keeps them."""
    async with connect(options) as client:
        found = (await client.get("/artifacts", project=project, limit=limit))["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["ARTIFACT", "DIGEST", "SIZE", "BUILDER", "CREATED", "KEPT BECAUSE"],
        [
            [
                each["id"],
                each["digest"][:12],
                output.size(each["size"]),
                each["builder"],
                output.age(each["created_at"]),
                _kept(each),
            ]
            for each in found
        ],
        empty="No artifacts yet. A build leaves one: zeitwork deploy PROJECT",
    )
    return Exit.OK


def _kept(artifact: dict[str, Any]) -> str:
    if artifact["deleted_at"] is not None:
        return f"deleted {output.age(artifact['deleted_at'])}"
    if artifact["kept_because"]:
        return ", ".join(artifact["kept_because"]).replace("_", " ")
    if artifact["deletes_at"] is not None:
        return f"nothing; deleted {output.until(artifact['deletes_at'])}"
    return "new"
