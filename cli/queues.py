"""`zeitwork queues`: what waits for each durable, how fast it is handled, what streams hold."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter
from rich.text import Text

from cli import output
from cli.client import connect
from cli.exits import Exit
from cli.options import Flag, Options
from zeitwork import clock

_WATCH_SECONDS = 2.0
_KIB = 1024
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))


async def queues(
    *,
    watch: Annotated[bool, Flag, Parameter(alias="-w", help="Print anew until Ctrl-C.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show streams and durables: depth, age, rate, time to drain."""
    async with connect(options) as client:
        while True:
            found = await client.get("/queues")
            if options.json:
                output.emit_json(found)
            else:
                if watch and output.out.is_terminal:
                    output.out.clear()
                _show(found)
            if not watch:
                return Exit.OK
            await clock.sleep(_WATCH_SECONDS)


def _show(found: dict[str, Any]) -> None:
    output.table(
        (
            "durable", "stream", "depth", "pending", "ack pending", "redelivered", "oldest",
            "rate", "drained in", "idle pulls",
        ),
        [_durable(each) for each in found["durables"]],
        empty="There is no durable.",
    )  # fmt: skip
    output.out.print()
    output.table(
        ("stream", "messages", "at most", "size", "at most", "kept for", "first", "last"),
        [_stream(each) for each in found["streams"]],
        empty="There is no stream.",
    )
    for name in found["missing"]:
        output.err.print(f"[red]missing[/red] {name}: `zeitwork events topology apply` makes it")
    output.notes.print(f"measured {output.age(found['measured_at'])}", style="dim")


def _durable(each: dict[str, Any]) -> list[str | Text]:
    rate, drain = each["rate"], each["drain_seconds"]
    name = Text.assemble(each["name"], (" paused", "yellow")) if each["paused"] else each["name"]
    return [
        name,
        each["stream"],
        str(each["depth"]),
        str(each["pending"]),
        str(each["ack_pending"]),
        Text(str(each["redelivered"]), "yellow" if each["redelivered"] else ""),
        "-" if each["oldest_age_seconds"] is None else duration(each["oldest_age_seconds"]),
        "-" if rate is None else f"{rate:.1f}/s",
        "-" if drain is None or not each["depth"] else duration(drain),
        str(each["idle_pulls"]),
    ]


def _stream(each: dict[str, Any]) -> list[str | Text]:
    most, largest, kept = each["max_messages"], each["max_bytes"], each["max_age_seconds"]
    return [
        each["name"],
        str(each["messages"]),
        "-" if most is None else str(most),
        size(each["bytes"]),
        "-" if largest is None else size(largest),
        "-" if kept is None else duration(kept),
        str(each["first_sequence"]),
        str(each["last_sequence"]),
    ]


def duration(seconds: float) -> str:
    """For people: two units at most."""
    for index, (unit, length) in enumerate(_UNITS):
        if seconds >= length:
            whole, rest = divmod(int(seconds), length)
            smaller, step = (*_UNITS, ("s", 1))[index + 1]
            return f"{whole}{unit} {rest // step}{smaller}" if rest // step else f"{whole}{unit}"
    return f"{seconds:.1f}s" if seconds < 10 else f"{int(seconds)}s"  # noqa: PLR2004 - two digits


def size(count: int) -> str:
    """For people, in powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < _KIB:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} GiB"
