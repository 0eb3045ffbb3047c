"""What was ever written of each event type and version: a message, and the schema of its payload.

`python -m tests.unit.events.goldens` writes what is missing. A golden message is history and never
changes; a stored schema takes in compatible additions and refuses everything else. Whoever raises a
version keeps the old files and adds an upcaster.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from events import subjects
from events.envelope import Envelope
from events.event import Event, readable
from tests.unit.events import compatibility

MESSAGES = Path(__file__).parent / "golden"
SCHEMAS = Path(__file__).parent / "schemas"
EVENTS = tuple(sorted(subjects.FACTS | subjects.JOBS.keys(), key=lambda each: each.event_type))


def file_name(event: type[Event], version: int | None = None) -> str:
    """The name of the files of a version, by default of the one that this program writes."""
    return f"{event.event_type}.v{version or event.event_version}.json"


def missing(directory: Path, events: Sequence[type[Event]] = EVENTS) -> list[str]:
    """Files that ought to be there: one for each version from the first."""
    return [
        name
        for event in events
        for version in range(1, event.event_version + 1)
        if not (directory / (name := file_name(event, version))).exists()
    ]


def unreadable(events: Sequence[type[Event]] = EVENTS) -> list[str]:
    """Versions that were written and that no upcaster brings up."""
    return [
        f"{event.event_type} version {version}"
        for event in events
        for version in range(1, event.event_version + 1)
        if version not in readable(event)
    ]


def broken(directory: Path, events: Sequence[type[Event]] = EVENTS) -> list[str]:
    """Changes of events that need a new version and have none."""
    return [
        f"{event.event_type} version {event.event_version}: {difference}"
        for event, stored in _stored(directory, events)
        for difference in compatibility.incompatible(stored, compatibility.normal(event))
    ]


def outdated(directory: Path, events: Sequence[type[Event]] = EVENTS) -> list[str]:
    """Stored schemas that lack a compatible addition."""
    return [
        file_name(event)
        for event, stored in _stored(directory, events)
        if stored != compatibility.normal(event)
    ]


def content(envelope: Envelope) -> dict[str, Any]:
    return {"headers": envelope.headers(), "payload": json.loads(envelope.data.encode())}


def example(event: type[Event]) -> Envelope:
    aggregate, _, _ = event.event_type.partition(".")
    return Envelope(
        id="evt_01k0000000e000000000000000",
        type=event.event_type,
        version=event.event_version,
        time=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        source="golden",
        subject=f"{aggregate}_01k0000000e000000000000001",
        aggregate_version=7,
        correlation_id="evt_01k0000000e000000000000002",
        causation_id="evt_01k0000000e000000000000003",
        actor="system",
        organisation_id="org_01k0000000e000000000000004",
        project_id="prj_01k0000000e000000000000005",
        data=event.model_validate(_values(event)),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )


def _values(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {name: _value(part, schema, name) for name, part in schema["properties"].items()}


def _value(part: dict[str, Any], schema: dict[str, Any], name: str) -> Any:
    """A value that fits a part of a JSON schema."""
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    if "anyOf" in part:
        return _value(part["anyOf"][0], schema, name)
    if "enum" in part:
        return part["enum"][0]
    if part.get("format") == "date-time":
        return "2026-01-02T03:04:05Z"
    match part["type"]:
        case "object":
            return {key: _value(each, schema, key) for key, each in part["properties"].items()}
        case "array":
            return [_value(part["items"], schema, name)]
        case "integer":
            return 3
        case "number":
            return 1.5
        case "boolean":
            return False
        case _:
            return f"a {name}, ä"


def _stored(
    directory: Path, events: Sequence[type[Event]]
) -> Iterator[tuple[type[Event], dict[str, Any]]]:
    for event in events:
        path = directory / file_name(event)
        if path.exists():
            yield event, json.loads(path.read_text())


def write(
    messages: Path = MESSAGES, schemas: Path = SCHEMAS, events: Sequence[type[Event]] = EVENTS
) -> list[str]:
    """Write what is missing, unless a change breaks something: then that, in words."""
    refused = broken(schemas, events)
    if refused:
        return refused
    for event in events:
        if not (messages / file_name(event)).exists():
            _write(messages / file_name(event), content(example(event)))
        _write(schemas / file_name(event), compatibility.normal(event))
    return []


def _write(path: Path, document: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def main() -> int:
    refused = write()
    if refused:
        print("Raise the version and add an upcaster (docs/how-to/evolve-events.md):")
        print(*(f"  {difference}" for difference in refused), sep="\n")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
