"""`zeitwork previews …`: what pull requests and branches have of their own."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.confirmation import confirm
from cli.exits import Exit
from cli.options import Flag, Options

app = App(name="previews", help="Previews of pull requests and branches: list, show, approve.")
_Preview = Annotated[str, Parameter(help="The preview's id.")]


@app.command(name="list")
async def list_(
    project: Annotated[str, Parameter(help="Slug or id of the project.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List a project's previews, oldest first."""
    async with connect(options) as client:
        found = await client.pages(f"/projects/{project}/previews", "after")
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["PREVIEW", "OF", "STATE", "COMMIT", "URL", "REASON"],
        [
            [
                each["id"],
                _of(each),
                output.state(each["state"]),
                each["head_sha"][:8],
                each["url"] or "",
                each["reason"] or "",
            ]
            for each in found
        ],
        empty="No previews. Switch them on: zeitwork projects change PROJECT --previews",
    )
    return Exit.OK


@app.command
async def show(preview: _Preview, /, *, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Show a preview."""
    async with connect(options) as client:
        _print(await client.get(f"/previews/{preview}"), options)
    return Exit.OK


@app.command
async def approve(
    preview: _Preview,
    /,
    *,
    commit: Annotated[
        str | None, Parameter(help="Full SHA that was looked at; default: show it and ask.")
    ] = None,
    yes: Annotated[bool, Flag, Parameter(help="Do not ask.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Let one commit from a fork be built and served; its next one has to be approved again."""
    async with connect(options) as client:
        found = await client.get(f"/previews/{preview}")
        sha = commit or found["head_sha"]
        question = f"Build and run {sha} of {_of(found)}, which comes from a fork?"
        if commit is None and not yes and not await confirm(question):
            return Exit.OK
        _print(await client.post(f"/previews/{preview}/approve", {"commit_sha": sha}), options)
    return Exit.OK


def _of(preview: dict[str, Any]) -> str:
    number = preview["pull_number"]
    return preview["branch"] if number is None else f"pull request {number}"


def _print(preview: dict[str, Any], options: Options) -> None:
    if options.json:
        output.emit_json(preview)
        return
    output.facts(
        {
            "Preview": preview["id"],
            "Of": _of(preview) + (" from a fork" if preview["from_fork"] else ""),
            "State": output.state(preview["state"]),
            "Reason": preview["reason"],
            "Commit": preview["head_sha"],
            "Deployed": preview["deployed_sha"],
            "Approved": preview["approved_sha"]
            and f"{preview['approved_sha']} by {preview['approved_by']}",
            "URL": preview["url"],
            "Expires": preview["expires_at"],
        }
    )
