"""`zeitwork env …`: the variables of a project."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import dotenv, output
from cli.client import Client, connect
from cli.exits import Exit
from cli.options import Flag, Options
from events.variables import VariablePhase
from zeitwork.errors import InvalidInput

app = App(name="env", help="Variables and secrets of a project: list, set, unset, reveal, import.")
_PRODUCTION = "production"
_Project = Annotated[str, Parameter(help="Slug or id.")]
_Environment = Annotated[str | None, Parameter(help="Only of this environment.")]
_Preview = Annotated[bool, Flag, Parameter(help="Only of previews.")]
_Phase = Annotated[VariablePhase, Parameter(help="When it is there.")]
_Redeploy = Annotated[
    bool, Flag, Parameter(help="Deploy what serves with other values once more, with these.")
]


@app.command(name="list")
async def list_(project: _Project, /, *, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """List names, places and times; values are not shown."""
    async with connect(options) as client:
        found = await client.get(f"/projects/{project}/variables")
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["NAME", "WHERE", "WHEN", "CHANGED", "BY"],
        [
            [
                each["name"],
                each["environment"] or each["scope"],
                each["phase"],
                output.age(each["updated_at"]),
                each["updated_by"],
            ]
            for each in found["items"]
        ],
        empty=f"No variables yet. Set one: zeitwork env set {project} NAME < FILE",
    )
    _say_outdated(project, found["outdated"])
    return Exit.OK


@app.command(name="set")
async def set_(
    project: _Project,
    variables: Annotated[
        tuple[str, ...],
        Parameter(
            help="NAME, its value from --file or stdin; or NAME=VALUE, which others may see."
        ),
    ],
    /,
    *,
    file: Annotated[Path | None, Parameter(help="Holds the value of the one NAME.")] = None,
    environment: _Environment = None,
    preview: _Preview = False,
    phase: _Phase = VariablePhase.BOTH,
    redeploy: _Redeploy = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Set variables of a project; for a secret give NAME alone, as others can see NAME=VALUE."""
    values = _values(variables, file)
    async with connect(options) as client:
        said = {"environment": environment, "preview": preview, "phase": str(phase)}
        return await _set(client, project, values, said, redeploy=redeploy, options=options)


@app.command(name="import")
async def import_(
    project: _Project,
    file: Annotated[Path, Parameter(help="A .env file; - is stdin.")],
    /,
    *,
    environment: _Environment = None,
    preview: _Preview = False,
    phase: _Phase = VariablePhase.BOTH,
    redeploy: _Redeploy = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Set everything that a .env file names, or nothing of it."""
    values = dotenv.parse(_read(file) if str(file) != "-" else sys.stdin.read())
    if not values:
        raise InvalidInput(f"{file} sets nothing.")
    async with connect(options) as client:
        said = {"environment": environment, "preview": preview, "phase": str(phase)}
        return await _set(client, project, values, said, redeploy=redeploy, options=options)


@app.command
async def unset(
    project: _Project,
    name: Annotated[str, Parameter(help="Its name.")],
    /,
    *,
    environment: _Environment = None,
    preview: _Preview = False,
    redeploy: _Redeploy = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Remove a variable from the place where it was set."""
    async with connect(options) as client:
        found = await client.delete(
            f"/projects/{project}/variables/{name}",
            environment=environment,
            preview="true" if preview else None,
        )
        return await _after(client, project, found, redeploy=redeploy, options=options)


@app.command
async def reveal(
    project: _Project,
    name: Annotated[str, Parameter(help="Its name.")],
    /,
    *,
    environment: _Environment = None,
    preview: _Preview = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Print the value of a variable; that it was shown is on record."""
    async with connect(options) as client:
        found = await client.post(
            f"/projects/{project}/variables/{name}/reveal",
            {"environment": environment, "preview": preview},
        )
    if options.json:
        output.emit_json(found)
    else:
        sys.stdout.write(found["value"])
        if sys.stdout.isatty():
            sys.stdout.write("\n")
    return Exit.OK


async def _set(
    client: Client,
    project: str,
    values: Mapping[str, str],
    said: Mapping[str, Any],
    *,
    redeploy: bool,
    options: Options,
) -> int:
    body = {**said, "variables": values}
    found = await client.post(f"/projects/{project}/variables", body)
    return await _after(client, project, found, redeploy=redeploy, options=options)


async def _after(
    client: Client, project: str, found: dict[str, Any], *, redeploy: bool, options: Options
) -> int:
    """Say what has not got the change yet, or deploy it once more."""
    deployments = [
        await client.post(
            f"/projects/{project}/deployments",
            {"commit_sha": each["commit_sha"], "environment": each["environment"]},
        )
        for each in (found["outdated"] if redeploy else [])
    ]
    if options.json:
        output.emit_json({**found, "redeployed": [each["id"] for each in deployments]})
        return Exit.OK
    for each in found["items"]:
        output.line(f"{each['name']} set")
    for each in deployments:
        output.line(f"deploying again: {each['id']}")
    if not redeploy:
        _say_outdated(project, found["outdated"])
    return Exit.OK


def _say_outdated(project: str, outdated: Sequence[Mapping[str, Any]]) -> None:
    for each in outdated:
        output.err.print(
            output.text(
                f"{each['environment']} serves deployment #{each['number']}, which has other "
                f"values. Deploy again: zeitwork deploy {project} --commit {each['commit_sha']}"
            )
        )


def _values(variables: Sequence[str], file: Path | None) -> dict[str, str]:
    """Values by name, one of them from the file or stdin.

    Raises:
        InvalidInput: it is not clear which value belongs to which name.
    """
    pairs = dict(each.split("=", 1) for each in variables if "=" in each)
    alone = [each for each in variables if "=" not in each]
    if len(alone) > 1 or (file is not None and not alone):
        raise InvalidInput("Give one NAME without a value at a time: its value is read for it.")
    if not pairs and not alone:
        raise InvalidInput("Name a variable.")
    for name in alone:
        # An editor or `echo` ends the last line; that end is rarely part of a secret.
        pairs[name] = (_read(file) if file is not None else _typed(name)).removesuffix("\n")
    return pairs


def _typed(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.read()
    import getpass

    return getpass.getpass(f"Value of {name}: ")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as text: name another file.") from error
