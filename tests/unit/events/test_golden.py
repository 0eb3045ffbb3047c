"""What was ever written can still be read; what is written now, by older programs too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from events.envelope import unwrap
from events.event import REGISTRY
from tests.unit.events import goldens

FILES = sorted(goldens.MESSAGES.glob("*.json"))
WRITE = "run python -m tests.unit.events.goldens (docs/how-to/evolve-events.md)"


def test_every_version_has_a_golden_message() -> None:
    assert not goldens.missing(goldens.MESSAGES), WRITE


def test_every_version_has_a_stored_schema() -> None:
    assert not goldens.missing(goldens.SCHEMAS), WRITE


def test_every_older_version_has_an_upcaster() -> None:
    assert goldens.unreadable() == []


def test_no_event_changed_incompatibly_without_a_new_version() -> None:
    assert goldens.broken(goldens.SCHEMAS) == []


def test_stored_schemas_know_every_field() -> None:
    assert not goldens.outdated(goldens.SCHEMAS), WRITE


@pytest.mark.parametrize("directory", [goldens.MESSAGES, goldens.SCHEMAS], ids=["golden", "schema"])
def test_no_event_type_that_was_written_is_forgotten(directory: Path) -> None:
    written = {file.stem.rpartition(".v")[0] for file in directory.glob("*.json")}
    assert written == REGISTRY.keys()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_message_is_read(file: Path) -> None:
    golden = json.loads(file.read_text())
    envelope = unwrap(golden["headers"], json.dumps(golden["payload"]).encode())
    type_, _, version = file.stem.rpartition(".v")
    assert type(envelope.data) is REGISTRY[type_]
    assert envelope.version == int(version)
    if envelope.version == envelope.data.event_version:
        assert _lost(golden, goldens.content(envelope)) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_message_fits_the_stored_schema_of_its_version(file: Path) -> None:
    schema = json.loads((goldens.SCHEMAS / file.name).read_text())
    jsonschema.Draft202012Validator(schema).validate(json.loads(file.read_text())["payload"])


def _lost(before: Any, after: Any, path: str = "") -> list[str]:
    """What is in `before` and not the same in `after`, which may have more."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [
            each
            for key, value in before.items()
            for each in _lost(value, after.get(key), f"{path}/{key}")
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = zip(before, after, strict=True)
        return [each for one, other in pairs for each in _lost(one, other, f"{path}[]")]
    return [] if before == after else [path]
