"""The generated reference of events: `make docs` writes it, a test finds it out of date.

`python -m events.reference DIRECTORY` writes `asyncapi.json` and `events.md`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from events import asyncapi, channels, parties
from events.event import Event

ASYNCAPI: Final = "asyncapi.json"
EVENTS: Final = "events.md"

_HEAD = """\
# Events

Made from the event classes by `make docs`; do not edit. The same as an AsyncAPI 3 document is
[asyncapi.json](asyncapi.json), which a running platform serves at `GET /api/v1/asyncapi.json`.

`{partition}`, `{class}`, `{project}` and `{id}` of a subject differ from message to message: a
hash of the project (0 to 15), `production` or `preview`, the project's id or `none`, and the
aggregate's id. A field with `?` may be absent or null. Every message also carries the envelope as
headers (`ce-id`, `ce-type`, `ce-correlationid`, …). *Taken by* names durables, and processes whose
replicas each follow the event for themselves; the API passes all facts on as server-sent events.
[How to change an event](../how-to/evolve-events.md).
"""
_COLUMNS = ("event", "version", "subject", "sent by", "taken by", "fields")
_NOBODY = "nobody yet"


def texts() -> Mapping[str, str]:
    """The files by name."""
    document = json.dumps(asyncapi.document(), indent=2, ensure_ascii=False)
    return {ASYNCAPI: f"{document}\n", EVENTS: _markdown()}


def _markdown() -> str:
    return _HEAD + "".join(_sections())


def _sections() -> Iterator[str]:
    for aggregate, events in groupby(channels.EVENTS, key=_aggregate):
        found = list(events)
        yield f"\n## {aggregate}\n\n"
        yield "".join(f"- `{event.event_type}`: {channels.summary(event)}\n" for event in found)
        yield "\n" + _line(_COLUMNS) + _line(["---"] * len(_COLUMNS))
        yield "".join(_line(_row(event)) for event in found)


def _aggregate(event: type[Event]) -> str:
    return event.event_type.partition(".")[0]


def _row(event: type[Event]) -> list[str]:
    schema = event.model_json_schema()
    fields = [
        f"`{name}{_mark(part)}` {_word(part, schema.get('$defs', {}))}"
        for name, part in schema["properties"].items()
    ]
    return [
        f"`{event.event_type}`",
        str(event.event_version),
        f"`{channels.channel(event).address}`",
        ", ".join(parties.senders(event)) or _NOBODY,
        ", ".join(channels.takers(event)) or _NOBODY,
        ", ".join(fields),
    ]


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _mark(part: dict[str, Any]) -> str:
    nullable = {"type": "null"} in part.get("anyOf", ())
    return "?" if nullable or "default" in part else ""


def _word(part: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type of a field, in a few words."""
    if "$ref" in part:
        part = definitions[part["$ref"].rpartition("/")[2]]
    if "enum" in part:
        return " / ".join(part["enum"])
    if "anyOf" in part:
        words = [_word(each, definitions) for each in part["anyOf"] if each != {"type": "null"}]
        return " or ".join(words)
    if part["type"] == "array":
        return f"list of {_word(part['items'], definitions)}"
    if part["type"] == "object":
        inside = [
            f"{name}{_mark(each)} {_word(each, definitions)}"
            for name, each in part.get("properties", {}).items()
        ]
        return f"object ({', '.join(inside)})" if inside else "object"
    return str(part.get("format", part["type"]))


def main(directory: str) -> None:
    for name, text in texts().items():
        (Path(directory) / name).write_text(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
