"""The command tree, and how errors end it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli import database, deployments, events, exits, output, projects, serve
from cli.client import ApiProblem
from cli.common import Common
from cli.deployments import deploy
from cli.exits import Exit
from cli.logs import logs
from zeitwork import __version__
from zeitwork.errors import ZeitworkError

app = App(
    name="zeitwork",
    help="Push to GitHub, get a live URL.",
    version=f"zeitwork {__version__}",
)
app.command(serve.app)
app.command(database.app)
app.command(projects.app)
app.command(deployments.app)
app.command(events.app)
app.command(deploy)
app.command(logs)


@app.command
async def up(
    *,
    data: Annotated[Path | None, Parameter(help="Where everything is kept.")] = None,
    example: Annotated[
        bool, Parameter(negative="", help="Deploy the bundled example and print its URL.")
    ] = False,
    verbose: Annotated[
        bool, Parameter(alias="-v", negative="", help="Print the services' logs.")
    ] = False,
    json: Annotated[bool, Parameter(negative="", help="Print one JSON object when ready.")] = False,
) -> int:
    """Start the whole platform on this machine, until Ctrl-C."""
    from cli.up import UpOptions
    from cli.up import up as run

    return await run(UpOptions(data=data, example=example, verbose=verbose, json=json))


@app.command
async def doctor(*, common: Common = Common()) -> int:  # noqa: B008 - frozen
    """Say what this machine has, what is missing, and what to do."""
    from cli.doctor import examine

    return await examine(common)


def main() -> None:
    """The console script."""
    try:
        app()
    except ApiProblem as problem:
        _complain(problem.code, str(problem), problem.document.get("trace_id"))
        sys.exit(exits.of(problem))
    except ZeitworkError as error:
        _complain(error.code, error.message, None)
        sys.exit(exits.of(error))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(Exit.INTERRUPTED)


def _complain(code: str, message: str, trace_id: str | None) -> None:
    if "--json" in sys.argv:
        output.err.print_json(data={"code": code, "detail": message, "trace_id": trace_id})
        return
    output.err.print(f"[red]error[/red] \\[{code}] ", end="")
    output.err.print(message, markup=False)
    if trace_id is not None:
        output.err.print(f"trace {trace_id}", style="dim")


if __name__ == "__main__":
    main()
