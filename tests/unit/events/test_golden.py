"""Every event that was ever written can still be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from events.envelope import unwrap
from events.event import REGISTRY
from tests.unit.events import goldens

FILES = sorted(goldens.DIRECTORY.glob("*.json"))


def test_every_type_has_a_golden_file() -> None:
    names = [goldens.path(event).name for event in goldens.missing()]
    assert not names, f"run python -m tests.unit.events.goldens to write {names}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_golden_file_is_read(file: Path) -> None:
    golden = json.loads(file.read_text())
    envelope = unwrap(golden["headers"], json.dumps(golden["payload"]).encode())
    type_, _, version = file.stem.rpartition(".v")
    assert type(envelope.data) is REGISTRY[type_]
    assert envelope.version == int(version)
    if envelope.version == envelope.data.event_version:
        assert goldens.content(envelope) == golden
