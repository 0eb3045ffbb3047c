"""The command tree, and how errors end it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from cli import (
    artifacts,
    builds,
    database,
    deployments,
    environments,
    events,
    exits,
    hooks,
    nats_context,
    output,
    previews,
    projects,
    secret_keys,
    serve,
    variables,
)
from cli.client import ApiProblem
from cli.deployments import deploy
from cli.detect import detect
from cli.exits import Exit
from cli.logs import logs as logs_command
from cli.options import Flag, Json, Options
from cli.queues import queues
from cli.triggers import triggers
from zeitwork import __version__, logs
from zeitwork.errors import ZeitworkError

app = App(
    name="zeitwork",
    help="Push to GitHub, get a live URL.",
    version=f"zeitwork {__version__}",
    console=output.pages,
)
app.command(serve.app)
app.command(database.app)
app.command(projects.app)
app.command(deployments.app)
app.command(builds.app)
app.command(artifacts.app)
app.command(environments.app)
app.command(hooks.app)
app.command(previews.app)
app.command(events.app)
app.command(variables.app)
app.command(secret_keys.app)
app.command(nats_context.app)
app.command(deploy)
app.command(detect)
app.command(logs_command, name="logs")
app.command(queues)
app.command(triggers)


@app.command
async def up(
    *,
    data: Annotated[Path | None, Parameter(help="Where everything is kept.")] = None,
    example: Annotated[
        bool, Flag, Parameter(help="Deploy the bundled example and print its URL.")
    ] = False,
    scale: Annotated[
        tuple[str, ...],
        Parameter(
            help="GROUP=COUNT: run a consumer group in processes of its own, so many; repeatable.",
            negative="",
            show_default=False,
        ),
    ] = (),
    verbose: Annotated[bool, Flag, Parameter(alias="-v", help="Print the services' logs.")] = False,
    json: Json = False,
) -> int:
    """Start the whole platform on this machine, until Ctrl-C."""
    from cli.up import UpOptions
    from cli.up import up as run

    return await run(UpOptions(data=data, example=example, verbose=verbose, json=json, scale=scale))


@app.command
async def doctor(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Say what this machine has, what is missing, and what to do."""
    from cli.doctor import examine

    return await examine(options)


def main() -> None:
    """The console script."""
    # What a command printed last may still be on its way when the reader has gone.
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.PIPE_CLOSED
    sys.exit(code)


def _run() -> int:
    """Run the command that the arguments name; its exit code."""
    output.notes.quiet = _wants_json()
    # Commands that run a service configure this anew; the others have nothing to log but trouble.
    logs.configure(service="cli", level="warning", fmt="auto")
    try:
        return _code(app(exit_on_error=False, print_error=not _wants_json(), result_action=_same))
    except CycloptsError as error:
        if _wants_json():
            _complain("usage", str(error), None)
        return Exit.USAGE
    except ApiProblem as problem:
        _complain(problem.code, str(problem), problem.document.get("trace_id"))
        return exits.of(problem)
    except ZeitworkError as error:
        _complain(error.code, error.message, None)
        return exits.of(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return Exit.INTERRUPTED


def _wants_json() -> bool:
    return "--json" in sys.argv


def _same(result: object) -> object:
    return result


def _code(result: object) -> int:
    """`--help` and `--version` have no result."""
    return result if isinstance(result, int) else Exit.OK


def _complain(code: str, message: str, trace_id: str | None) -> None:
    if _wants_json():
        said = {"code": code, "detail": message, "trace_id": trace_id}
        output.err.print_json(data=said, indent=None)
        return
    output.err.print(f"[red]error[/red] \\[{code}] ", end="")
    output.err.print(output.text(message))
    if trace_id is not None:
        output.err.print(f"trace {trace_id}", style="dim")


if __name__ == "__main__":
    main()
