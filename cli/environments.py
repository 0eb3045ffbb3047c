"""`zeitwork environments …`: further environments of a project."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.confirmation import confirm
from cli.exits import Exit
from cli.options import Flag, Options

app = App(name="environments", help="Environments of a project: list, create, change, remove.")
_Project = Annotated[str, Parameter(help="Slug or id of the project.")]
_Rule = Annotated[str, Parameter(help="The branch that it follows; * and ** make a pattern.")]


@app.command(name="list")
async def list_(
    project: _Project,
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List a project's environments, previews included."""
    async with connect(options) as client:
        found = (await client.get(f"/projects/{project}"))["environments"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["ENVIRONMENT", "KIND", "FOLLOWS", "URL"],
        [[each["name"], _kind(each), each["branch"], each["url"]] for each in found],
        empty="No environments.",
    )
    return Exit.OK


@app.command
async def create(
    project: _Project,
    name: Annotated[str, Parameter(help="Its name, also in its URL.")],
    branch: _Rule,
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Create an environment; pushes to its branch are deployed to it."""
    async with connect(options) as client:
        made = await client.post(
            f"/projects/{project}/environments", {"name": name, "branch": branch}
        )
    _print(made, options)
    return Exit.OK


@app.command
async def change(
    project: _Project,
    name: Annotated[str, Parameter(help="Name of the environment.")],
    branch: _Rule,
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Let an environment follow another branch, from the next push on."""
    async with connect(options) as client:
        changed = await client.patch(f"/projects/{project}/environments/{name}", {"branch": branch})
    _print(changed, options)
    return Exit.OK


@app.command
async def remove(
    project: _Project,
    name: Annotated[str, Parameter(help="Name of the environment.")],
    /,
    *,
    yes: Annotated[bool, Flag, Parameter(help="Do not ask.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Stop an environment and remove all that belongs to it."""
    if not yes and not await confirm(f"Remove {name} of {project}, with its deployments?"):
        return Exit.OK
    async with connect(options) as client:
        closing = await client.delete(f"/projects/{project}/environments/{name}")
    _print(closing, options)
    return Exit.OK


def _kind(environment: dict[str, Any]) -> str:
    return f"{environment['kind']}, closing" if environment["closing"] else environment["kind"]


def _print(environment: dict[str, Any], options: Options) -> None:
    if options.json:
        output.emit_json(environment)
        return
    output.facts(
        {
            "Environment": environment["name"],
            "Kind": _kind(environment),
            "Follows": environment["branch"],
            "URL": environment["url"],
        }
    )
