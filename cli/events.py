"""`zeitwork events …`: read the log, follow the stream."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from cli import output, rebuild, topology
from cli.client import connect
from cli.event_lines import event_line
from cli.exits import Exit
from cli.options import Options
from cli.rebuild import refill
from cli.replay import replay
from cli.timeline import timeline
from zeitwork.errors import Unavailable

app = App(name="events", help="Events: list, tail, replay, timeline; streams and durables.")
app.command(rebuild.app)
app.command(refill)
app.command(replay)
app.command(timeline)
app.command(topology.app)


@app.command(name="list")
async def list_(
    *,
    correlation: Annotated[str | None, Parameter(help="One chain of causes.")] = None,
    subject: Annotated[str | None, Parameter(help="One aggregate, by id.")] = None,
    project: Annotated[str | None, Parameter(help="One project.")] = None,
    limit: Annotated[int, Parameter(help="How many, oldest first.")] = 100,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List stored events, oldest first."""
    async with connect(options) as client:
        found = await client.get(
            "/events", correlation=correlation, subject=subject, project=project, limit=limit
        )
    if options.json:
        output.emit_json(found["items"])
    else:
        for event in found["items"]:
            output.out.print(event_line(event))
    return Exit.OK


@app.command
async def tail(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Print events as they happen, until Ctrl-C."""
    async with connect(options) as client, client.events("/events/stream") as events:
        output.notes.print("Waiting for events (Ctrl-C ends) …")
        async for event in events:
            if options.json:
                output.emit_json(event.data)
            else:
                output.out.print(event_line(event.data))
    raise Unavailable("The API ended the stream. Is it being restarted?")
