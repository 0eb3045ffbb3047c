"""The snapshot on disk: whole, or not used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from events.routes import Route, Target
from proxy.state import Keeper, StateFile
from proxy.table import RoutingTable
from tests.support.eventually import eventually

_ROUTES = [
    Route(
        host=f"{name}.test",
        version=number,
        project_id="prj_1",
        deployment_id="dep_1",
        targets=(Target(instance_id="ins_1", host="127.0.0.1", port=1000),),
    )
    for number, name in enumerate("abc", start=1)
]


@pytest.fixture
def file(tmp_path: Path) -> StateFile:
    return StateFile(tmp_path / "proxy" / "routes.json")


def test_what_was_written_is_read(file: StateFile) -> None:
    for routes in (_ROUTES, _ROUTES[:1], []):
        file.write(routes)
        assert file.read() == routes
    assert [*file.path.parent.iterdir()] == [file.path]


def test_a_missing_file_is_none(file: StateFile) -> None:
    assert file.read() is None


def test_an_unreadable_file_is_none(file: StateFile) -> None:
    file.path.mkdir(parents=True)
    assert file.read() is None


def test_no_damage_to_a_file_goes_unseen(file: StateFile) -> None:
    file.write(_ROUTES)
    whole = file.path.read_bytes()
    for at in range(0, len(whole), 3):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            file.path.write_bytes(damaged)
            assert file.read() in (None, _ROUTES)
            if at > whole.index(b"\n"):
                assert file.read() is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\x00" * 100, b"[]\n", b"null\n", b"{}\n", b'{"format": 1}\n', b"\xff\xfe\n",
     b'{"format": 0, "count": 0, "sha256": ""}\n', b'{"format": 2, "count": 0, "sha256": ""}\n'],
)  # fmt: skip
def test_a_file_of_another_format_is_none(file: StateFile, content: bytes) -> None:
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    assert file.read() is None


def test_fields_of_a_newer_version_are_overlooked(file: StateFile) -> None:
    import hashlib

    line = json.dumps({**_ROUTES[0].model_dump(), "colour": "blue"}).encode() + b"\n"
    head = {"format": 1, "count": 1, "sha256": hashlib.sha256(line).hexdigest(), "new": 1}
    file.path.parent.mkdir()
    file.path.write_bytes(json.dumps(head).encode() + b"\n" + line)
    assert file.read() == _ROUTES[:1]


def test_a_write_that_fails_leaves_the_older_file(file: StateFile) -> None:
    file.write(_ROUTES)

    class Unprintable:
        def model_dump_json(self) -> str:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        file.write([*_ROUTES, Unprintable()])  # type: ignore[list-item]
    assert file.read() == _ROUTES
    assert [*file.path.parent.iterdir()] == [file.path]


async def test_the_keeper_writes_the_newest_table_and_once_more_at_the_end(file: StateFile) -> None:
    keeper = Keeper(file)
    await keeper.start()
    keeper.save(RoutingTable().replace(_ROUTES[:1]))
    keeper.save(RoutingTable().replace(_ROUTES[:2]))
    await eventually(lambda: file.read() == _ROUTES[:2])
    keeper.save(RoutingTable().replace(_ROUTES))
    await keeper.stop()
    assert file.read() == _ROUTES


async def test_the_keeper_survives_a_disk_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "proxy").write_text("in the way")
    file = StateFile(tmp_path / "proxy" / "routes.json")
    keeper = Keeper(file)
    await keeper.start()
    keeper.save(RoutingTable().replace(_ROUTES))
    await eventually(lambda: keeper._unsaved is None)
    (tmp_path / "proxy").unlink()
    keeper.save(RoutingTable().replace(_ROUTES))
    await keeper.stop()
    assert not keeper.crashed.is_set()
    assert file.read() == _ROUTES
