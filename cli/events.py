"""`zeitwork events …`: read the log, follow the stream."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import output
from cli.client import connect
from cli.common import Common
from cli.exits import Exit
from zeitwork import config

app = App(name="events", help="Events: list, tail.")


@app.command(name="list")
async def list_(
    *,
    correlation: Annotated[str | None, Parameter(help="One chain of causes.")] = None,
    subject: Annotated[str | None, Parameter(help="One aggregate, by id.")] = None,
    project: Annotated[str | None, Parameter(help="One project.")] = None,
    limit: Annotated[int, Parameter(help="How many, oldest first.")] = 100,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """List stored events, oldest first."""
    async with connect(common.data) as client:
        found = await client.get(
            "/events", correlation=correlation, subject=subject, project=project, limit=limit
        )
    for event in found["items"]:
        _print(event, common)
    return Exit.OK


@app.command
async def provision() -> int:
    """Make the streams and consumers of ZEITWORK_NATS_URL what this version needs."""
    from events.topology import provision_url

    for change in await provision_url(config.load().nats_url.get_secret_value()):
        output.out.print(change, markup=False)
    return Exit.OK


@app.command
async def tail(*, common: Common = Common()) -> int:  # noqa: B008 - frozen
    """Print events as they happen, until Ctrl-C."""
    async with connect(common.data) as client, client.events("/events/stream") as events:
        output.err.print("Waiting for events (Ctrl-C ends) …")
        async for event in events:
            _print(event.data, common)
    return Exit.OK


def _print(event: dict[str, Any], common: Common) -> None:
    if common.json:
        output.emit_json(event)
        return
    facts = " ".join(
        f"{name}={value}"
        for name, value in event["data"].items()
        if value is not None and not isinstance(value, dict | list) and value != event["subject"]
    )
    output.out.print(
        f"[dim]{event['time'][11:23]}[/dim] [bold]{event['type']:<24}[/bold] {event['subject']} ",
        end="",
    )
    output.out.print(facts, markup=False, style="dim")
