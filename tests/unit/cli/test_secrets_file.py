from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from cli import secrets_file
from zeitwork.errors import InvalidSettings


def test_secrets_are_made_once_and_kept(tmp_path: Path) -> None:
    first = secrets_file.ensure(tmp_path / "secrets.json")
    assert secrets_file.ensure(tmp_path / "secrets.json") == first
    assert len(set(asdict(first).values())) == 5
    assert (tmp_path / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_what_an_older_version_did_not_have_is_added(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"api_token": "kept", "node_token": ""}))
    found = secrets_file.ensure(path)
    assert found.api_token == "kept"
    assert found.node_token
    assert json.loads(path.read_text()) == asdict(found)


def test_an_open_file_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    secrets_file.ensure(path)
    path.chmod(0o644)
    secrets_file.ensure(path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_new_key_comes_first_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    before = secrets_file.ensure(path)
    added = secrets_file.add_key(path)
    after = secrets_file.ensure(path)
    first, rest = after.secret_keys.split(",")
    assert first.startswith(f"{added}:")
    assert rest == before.secret_keys
    assert after.api_token == before.api_token
    assert path.stat().st_mode & 0o777 == 0o600


def test_no_key_is_made_where_no_platform_was(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="zeitwork up"):
        secrets_file.add_key(tmp_path / "secrets.json")
    assert not (tmp_path / "secrets.json").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "null", '{"api_token": 1}'])
def test_a_broken_file_is_told_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(text)
    with pytest.raises(InvalidSettings, match="repair it, or remove it"):
        secrets_file.ensure(path)
    assert path.read_text() == text


def test_they_are_not_shown(tmp_path: Path) -> None:
    found = secrets_file.ensure(tmp_path / "secrets.json")
    assert not [value for value in asdict(found).values() if value in repr(found)]
