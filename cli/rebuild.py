"""`zeitwork events refill`, `zeitwork events rebuild …`: make again what can be made again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text

from cli import output
from cli.client import connect
from cli.confirmation import confirm
from cli.exits import Exit
from cli.operations import carried_out
from cli.options import Flag, Options

app = App(name="rebuild", help="Recompute a projection: routing.")


async def refill(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Fill the event stream from the log, after NATS has lost it. Running it twice is harmless."""
    async with connect(options) as client:
        report = await carried_out(client, "refill", {}, doing="Filling ZW_EVENTS from the log")
    if options.json:
        output.emit_json(report)
        return Exit.UNEXPECTED if report["missing"] else Exit.OK
    output.line(
        f"{report['logged']} events in the log, {report['held']} were in the stream, "
        f"{report['published']} published; {report['builds']} builds queued again."
    )
    if report["missing"]:
        output.err.print(
            f"{report['missing']} are not in the stream: NATS still takes them for duplicates, or "
            "it is too small for all. Run this again in ten minutes."
        )
        return Exit.UNEXPECTED
    return Exit.OK


@app.command
async def routing(
    *,
    yes: Annotated[bool, Flag, Parameter(alias="-y", help="Write without asking.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Recompute the routing table; show how it differs, then write it."""
    async with connect(options) as client:
        found = await carried_out(
            client, "rebuild-routing", {"apply": False}, doing="Comparing routing_cache"
        )
        if not (found["added"] or found["changed"] or found["removed"]):
            return _finish(found, "routing_cache is what it should be.", options)
        if not options.json:
            for line in difference_lines(found):
                output.out.print(line)
        if not yes and not await confirm("Write this?"):
            output.err.print("Nothing was written.")
            return Exit.INTERRUPTED
        written = await carried_out(
            client, "rebuild-routing", {"apply": True}, doing="Writing routing_cache"
        )
    counted = ", ".join(f"{len(written[what])} {what}" for what in ("added", "changed", "removed"))
    return _finish(written, f"Written: {counted}.", options)


def difference_lines(found: Mapping[str, Any]) -> Iterator[Text]:
    """The hosts that differ: missing ones +, wrong ones ~, those of no environment -."""
    for what, mark, style in (
        ("added", "+", "green"),
        ("changed", "~", "yellow"),
        ("removed", "-", "red"),
    ):
        for entry in found[what]:
            before, after = entry["before"] or {}, entry["after"] or {}
            yield Text.assemble((f"{mark} ", style), (entry["host"], "bold"))
            for name in after or before:
                values = [_value(row[name]) for row in (before, after) if row]
                yield Text.assemble(f"    {name}: ", output.text(" → ".join(values)))


def _finish(report: Mapping[str, Any], text: str, options: Options) -> int:
    if options.json:
        output.emit_json(report)
    else:
        output.err.print(text)
    return Exit.OK


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
