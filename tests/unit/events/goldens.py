"""Golden files: one message of every event type and version that was ever written.

`python -m tests.unit.events.goldens` writes those that are missing; an existing file is history
and never changes. Whoever raises a version keeps the old file and adds an upcaster.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from events import subjects
from events.envelope import Envelope
from events.event import Event

DIRECTORY = Path(__file__).parent / "golden"


def path(event: type[Event]) -> Path:
    """The file of the version that this program writes."""
    return DIRECTORY / f"{event.event_type}.v{event.event_version}.json"


def missing() -> list[type[Event]]:
    known = subjects.FACTS | subjects.JOBS.keys()
    return sorted(
        (event for event in known if not path(event).exists()), key=lambda each: each.event_type
    )


def content(envelope: Envelope) -> dict[str, Any]:
    return {"headers": envelope.headers(), "payload": json.loads(envelope.data.encode())}


def _example(event: type[Event]) -> Envelope:
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


def main() -> None:
    DIRECTORY.mkdir(exist_ok=True)
    for event in missing():
        text = json.dumps(content(_example(event)), indent=2, ensure_ascii=False, sort_keys=True)
        path(event).write_text(text + "\n")


if __name__ == "__main__":
    main()
