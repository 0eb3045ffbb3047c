"""`zeitwork events replay`: print a slice of the log, or hand it to a consumer once more."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from cli import output
from cli.client import Client, connect
from cli.confirmation import confirm
from cli.event_lines import event_line
from cli.event_slices import event_slice
from cli.exits import Exit
from cli.operations import carried_out
from cli.options import Flag, Options
from zeitwork.errors import InvalidInput

_MOST_PRINTED = 100
_MARKS = {"insert": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
_OUTCOMES = {"done": "green", "failed": "red", "later": "yellow", "drop": "yellow"}


@Parameter(name="*")
@dataclass(frozen=True)
class Window:
    """Which events; what is not given does not narrow it.

    Attributes:
        since: From when on.
        until: Until when.
        subject: What it is about, or the subject it travels on.
        type: What happened.
        correlation: One chain of causes.
        deployment: One deployment's chain.
    """

    since: Annotated[
        str | None, Parameter(help="From when on: 10m, 2h, 3d ago, or an ISO time (UTC).")
    ] = None
    until: Annotated[str | None, Parameter(help="Until when, in the same forms.")] = None
    subject: Annotated[
        str | None, Parameter(help="An id, or subjects with wildcards (zw.evt.*.instance.>).")
    ] = None
    type: Annotated[
        str | None, Parameter(help="What happened; deployment.* for all of a kind.")
    ] = None
    correlation: Annotated[str | None, Parameter(help="One chain of causes.")] = None
    deployment: Annotated[str | None, Parameter(help="One deployment's chain, by id.")] = None


async def replay(
    *,
    window: Window = Window(),
    to: Annotated[str | None, Parameter(help="A consumer, for example routing-v1.")] = None,
    dry_run: Annotated[
        bool, Flag, Parameter(help="Show what the consumer would do; nothing happens.")
    ] = False,
    again: Annotated[bool, Flag, Parameter(help="Let the consumer do it again.")] = False,
    limit: Annotated[int | None, Parameter(help="The most events.")] = None,
    yes: Annotated[bool, Flag, Parameter(alias="-y", help="Do not ask.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Print the events of a window, or replay them to one consumer; 1 when it holds none."""
    if (to is not None) != (dry_run != again):
        raise InvalidInput("Say --to CONSUMER with either --dry-run or --again, or none of them.")
    async with connect(options) as client:
        if to is None:
            return await _print_window(client, window, limit or _MOST_PRINTED, options)
        params = {**asdict(window), "consumer": to, "limit": limit}
        if dry_run:
            return await _dry_run(client, params, options)
        question = f"{to} will take these events for real, once more. Go on?"
        if not yes and not await confirm(question):
            output.err.print("Nothing was done.")
            return Exit.INTERRUPTED
        return await _again(client, params, options)


async def _print_window(client: Client, window: Window, limit: int, options: Options) -> int:
    found, more = await event_slice(client, asdict(window), most=limit)
    if options.json:
        output.emit_json(found)
    for event in found if not options.json else []:
        output.out.print(event_line(event))
    if not found:
        return _nothing("The window holds no event.")
    if more and not options.json:
        output.err.print(f"The first {len(found)}; narrow the window or raise --limit for others.")
    return Exit.OK


async def _dry_run(client: Client, params: Mapping[str, Any], options: Options) -> int:
    report = await carried_out(client, "replay", {**params, "mode": "dry"}, doing="Rehearsing")
    return _ended(report, "Nothing was changed.", options)


async def _again(client: Client, params: Mapping[str, Any], options: Options) -> int:
    report = await carried_out(client, "replay", {**params, "mode": "again"}, doing="Replaying")
    return _ended(report, "", options)


def _ended(report: Mapping[str, Any], remark: str, options: Options) -> int:
    if options.json:
        output.emit_json(report)
    if report["matched"] == 0:
        return _nothing(f"The window holds no event that {report['consumer']} takes.")
    if not options.json:
        for line in lines(report):
            output.out.print(line)
        output.err.print(f"{_summary(report)}. {remark}".rstrip())
    return Exit.UNEXPECTED if report["outcomes"].get("failed") else Exit.OK


def _nothing(text: str) -> int:
    output.err.print(text)
    return Exit.UNEXPECTED


def _summary(report: Mapping[str, Any]) -> str:
    counted = ", ".join(f"{count} {word}" for word, count in report["outcomes"].items())
    more = " (there are more: narrow the window or raise --limit)" if report["more"] else ""
    return f"{report['matched']} events to {report['consumer']}: {counted}{more}"


def lines(report: Mapping[str, Any]) -> Iterator[Text]:
    """A replay's report, an event a paragraph: what it did, wrote, emitted and was refused."""
    for event in report["events"]:
        outcome = event["outcome"]
        reason = f" ({event['reason']})" if "reason" in event else ""
        yield Text.assemble(
            (event["time"][11:23], "dim"),
            f" {event['type']} {event['subject']} → ",
            (outcome, _OUTCOMES[outcome]),
            output.text(reason),
        )
        for row in event.get("rows", []):
            yield from _row(row)
        for said in event.get("emitted", []):
            data = output.text(_value(said["data"]))
            yield Text.assemble(("  » ", "cyan"), f"{said['type']} {said['subject']} ", data)
        for effect in event.get("refused", []):
            about = {name: value for name, value in effect.items() if name != "effect"}
            shown = output.text(_value(about))
            yield Text.assemble(("  ✗ ", "magenta"), f"refused {effect['effect']} ", shown)


def _row(row: Mapping[str, Any]) -> Iterator[Text]:
    mark, style = _MARKS[row["what"]]
    key = " ".join(f"{name}={value}" for name, value in row["key"].items())
    yield Text.assemble((f"  {mark} ", style), (row["table"], "bold"), " ", output.text(key))
    for name, values in row["columns"].items():
        before, after = _value(values["before"]), _value(values["after"])
        if row["what"] == "update":
            yield Text.assemble(f"      {name}: ", output.text(f"{before} → {after}"))
        elif name not in row["key"]:
            yield Text.assemble(
                f"      {name}: ", output.text(after if row["what"] == "insert" else before)
            )


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
