"""`zeitwork events topology …`: streams and durables as they should be, and as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from cli import output
from cli.broker import find_url
from cli.exits import Exit
from cli.options import Flag, Options
from zeitwork import config

if TYPE_CHECKING:
    from events.drift import Change

app = App(name="topology", help="Streams and durables: plan, apply, check.")
Replicas = Annotated[
    int | None, Parameter(help="Servers that hold each stream; default: ZEITWORK_NATS_REPLICAS.")
]


@app.command
async def plan(
    *,
    replicas: Replicas = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show what `apply` would change."""
    _show(await _plan(options, replicas), options)
    return Exit.OK


@app.command
async def check(
    *,
    replicas: Replicas = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Exit with 1 when the server is not as it should be."""
    changes = await _plan(options, replicas)
    _show(changes, options)
    return Exit.UNEXPECTED if changes else Exit.OK


@app.command
async def apply(
    *,
    replicas: Replicas = None,
    force: Annotated[bool, Flag, Parameter(help="Also what throws stored messages away.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Create what is missing and update what differs; nothing that shrinks without --force."""
    from events import topology

    with output.progress("Looking at the streams …"):
        async with topology.jetstream(find_url(options)) as js:
            changes = await topology.plan(js, replicas=_replicas(replicas))
            await topology.apply(js, changes, force=force)
    if options.json:
        output.emit_json([_document(change) for change in changes])
        return Exit.OK
    for change in changes:
        output.out.print(change.done, markup=False)
    if not changes:
        output.err.print("Everything is as it should be.")
    return Exit.OK


async def _plan(options: Options, replicas: int | None) -> list[Change]:
    from events import topology

    with output.progress("Looking at the streams …"):
        async with topology.jetstream(find_url(options)) as js:
            return await topology.plan(js, replicas=_replicas(replicas))


def _replicas(given: int | None) -> int:
    return given if given is not None else config.load().nats_replicas


def _show(changes: Sequence[Change], options: Options) -> None:
    if options.json:
        output.emit_json([_document(change) for change in changes])
        return
    for change in changes:
        mark = "+" if change.action == "create" else "~"
        style = "green" if change.action == "create" else "yellow"
        output.out.print(f"[{style}]{mark} {change.kind} {change.name}[/{style}]")
        for difference in change.differences:
            output.out.print(f"    {difference}", markup=False, end="")
            output.out.print("  [red]throws messages away[/red]" if difference.shrinks else "")
    if not changes:
        output.err.print("Everything is as it should be.")


def _document(change: Change) -> dict[str, object]:
    return {
        "action": change.action,
        "kind": change.kind,
        "name": change.name,
        "shrinks": change.shrinks,
        "differences": [
            {"field": one.field, "found": one.found, "wanted": one.wanted, "shrinks": one.shrinks}
            for one in change.differences
        ],
    }
