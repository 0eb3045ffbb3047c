"""`zeitwork hooks …`: addresses that others call to have a project deployed."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.exits import Exit
from cli.options import Options

app = App(name="hooks", help="Deploy hooks: create, list, rotate, remove.")
_Hook = Annotated[str, Parameter(help="The hook's id.")]


@app.command
async def create(
    project: Annotated[str, Parameter(help="Slug or id of the project.")],
    /,
    *,
    name: Annotated[str, Parameter(help="What it is for.")] = "deploy hook",
    environment: Annotated[str, Parameter(help="Environment to deploy.")] = "production",
    ref: Annotated[
        str | None, Parameter(help="Branch, tag or SHA; default: the environment's branch.")
    ] = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Create a hook; its secrets are printed now and never again."""
    async with connect(options) as client:
        made = await client.post(
            f"/projects/{project}/hooks", {"name": name, "environment": environment, "ref": ref}
        )
        _print(made, client.origin, options)
    return Exit.OK


@app.command(name="list")
async def list_(
    project: Annotated[str, Parameter(help="Slug or id of the project.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List a project's hooks."""
    async with connect(options) as client:
        found = (await client.get(f"/projects/{project}/hooks"))["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["HOOK", "NAME", "DEPLOYS", "CREATED", "USED"],
        [
            [
                each["id"],
                each["name"],
                f"{each['ref'] or 'its branch'} to {each['environment']}",
                output.age(each["created_at"]),
                output.age(each["used_at"]),
            ]
            for each in found
        ],
        empty="No hooks. Create one: zeitwork hooks create PROJECT",
    )
    return Exit.OK


@app.command
async def rotate(hook: _Hook, /, *, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Give a hook new secrets; the old ones are void at once."""
    async with connect(options) as client:
        _print(await client.post(f"/hooks/{hook}/rotate", {}), client.origin, options)
    return Exit.OK


@app.command
async def remove(hook: _Hook, /, *, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Remove a hook."""
    async with connect(options) as client:
        gone = await client.delete(f"/hooks/{hook}")
    if options.json:
        output.emit_json(gone)
    return Exit.OK


def _print(hook: dict[str, Any], origin: str, options: Options) -> None:
    if options.json:
        output.emit_json(hook)
        return
    signing_path = hook["signing_path"]
    output.facts(
        {
            "Hook": hook["id"],
            "Deploys": f"{hook['ref'] or 'its branch'} to {hook['environment']}",
            "URL": f"{origin}{hook['path']}",
            "Signed pushes": f"{origin}{signing_path}" if signing_path else None,
            "Signing key": hook["signing_key"],
        }
    )
