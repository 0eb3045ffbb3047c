"""`zeitwork events timeline`: what one push set off, as a tree of causes with times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from cli import output
from cli.client import Client, connect
from cli.event_lines import plain_facts
from cli.event_slices import event_slice
from cli.exits import Exit
from cli.options import Options
from zeitwork.errors import NotFound

_MOST_FACTS = 60  # characters


@dataclass(frozen=True, slots=True)
class Moment:
    """One event of a chain.

    Attributes:
        branch: the lines of the tree in front of it.
        offset: seconds since the first event of the chain.
        since_cause: seconds since the event that caused it; None for a root.
    """

    event: Mapping[str, Any]
    branch: str
    offset: float
    since_cause: float | None


def chain(events: Iterable[Mapping[str, Any]]) -> list[Moment]:
    """The events as a tree, causes before effects, siblings by time; pure.

    An event whose cause is not among them is a root, and so is the earliest of a circle (which
    nothing writes, but nobody should lose events over it).
    """
    ordered = sorted(events, key=_time)
    known = {event["id"]: event for event in ordered}
    effects: dict[str | None, list[Mapping[str, Any]]] = {}
    for event in ordered:
        cause = event["causation_id"]
        effects.setdefault(cause if cause in known else None, []).append(event)
    moments: list[Moment] = []
    seen: set[str] = set()
    for root in [*effects.get(None, []), *ordered]:
        waiting = [] if root["id"] in seen else [(root, "", "")]
        while waiting:
            event, branch, stem = waiting.pop()
            if event["id"] in seen:
                continue
            seen.add(event["id"])
            cause = known.get(event["causation_id"]) if branch else None
            moments.append(
                Moment(
                    event,
                    branch,
                    _seconds(ordered[0], event),
                    None if cause is None else _seconds(cause, event),
                )
            )
            children = [each for each in effects.get(event["id"], []) if each["id"] not in seen]
            for number, child in enumerate(reversed(children)):
                last = number == 0
                waiting.append(
                    (child, stem + ("└ " if last else "├ "), stem + ("  " if last else "│ "))
                )
    return moments


async def timeline(
    deployment: Annotated[str, Parameter(help="A deployment's id, or a project for its newest.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Print the chain of causes of a deployment: offset from its start, and since the cause."""
    async with connect(options) as client:
        named = deployment if deployment.startswith("dep_") else await _newest(client, deployment)
        events, _ = await event_slice(client, {"deployment": named})
    moments = chain(events)
    if options.json:
        output.emit_json([_document(moment) for moment in moments])
        return Exit.OK if moments else Exit.UNEXPECTED
    if not moments:
        output.err.print("The log holds nothing about it any more.")
        return Exit.UNEXPECTED
    _print(moments)
    return Exit.OK


async def _newest(client: Client, project: str) -> str:
    found = (await client.get("/deployments", project=project, limit=1))["items"]
    if not found:
        raise NotFound(f"{project} has no deployment yet.")
    return str(found[0]["id"])


def _print(moments: Sequence[Moment]) -> None:
    width = max(len(moment.branch) + len(moment.event["type"]) for moment in moments)
    output.err.print("  offset    since cause")
    for moment in moments:
        event = moment.event
        since = "" if moment.since_cause is None else f"+{_span(moment.since_cause)}"
        facts = plain_facts(event)
        short = facts if len(facts) <= _MOST_FACTS else facts[: _MOST_FACTS - 1] + "…"
        output.out.print(
            Text.assemble(
                f"{_span(moment.offset):>9}",
                (f"{since:>11}  ", "dim"),
                (moment.branch, "dim"),
                (event["type"].ljust(width - len(moment.branch)), "bold"),
                f"  {event['subject']} ",
                (output.text(short).plain, "dim"),
            )
        )


def _span(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _document(moment: Moment) -> dict[str, Any]:
    return {
        **moment.event,
        "offset_seconds": moment.offset,
        "since_cause_seconds": moment.since_cause,
    }


def _time(event: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(event["time"])


def _seconds(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> float:
    return (_time(later) - _time(earlier)).total_seconds()
