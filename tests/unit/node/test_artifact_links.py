"""Links in artifacts: to the interpreter and inside the application, and nowhere else."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import zstandard

from node.artifacts import _unpack
from zeitwork import sandbox
from zeitwork.errors import ZeitworkError

BIN = sandbox.python_toolchain() / "bin"
PYTHON = str(BIN / "python3")


def archive(path: Path, *members: tarfile.TarInfo) -> Path:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    path.write_bytes(zstandard.compress(held.getvalue()))
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def file(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 4
    return member


def test_links_to_the_interpreter_are_kept_as_they_are(tmp_path: Path) -> None:
    names = ("bin/python", "bin/python3")
    packed = archive(tmp_path / "packed", *(link(name, PYTHON) for name in names))
    _unpack(packed, tmp_path / "app")
    assert {str((tmp_path / "app" / name).readlink()) for name in names} == {PYTHON}


@pytest.mark.parametrize(
    "member",
    [
        link("../python", PYTHON),
        link("a/../../python", PYTHON),
        link("python", PYTHON, tarfile.LNKTYPE),
        link("python", f"{BIN}/python/../../../../../etc/passwd"),
        link("python", f"{BIN}/../bin/python3"),
        link("python", str(BIN)),
        link("python", f"{BIN}/pip"),
        link("python", "/etc/passwd"),
        link("python", "../../python3"),
    ],
    ids=lambda member: f"{member.name} to {member.linkname[-30:]}",
)
def test_other_links_and_places_are_refused(tmp_path: Path, member: tarfile.TarInfo) -> None:
    with pytest.raises(ZeitworkError):
        _unpack(archive(tmp_path / "packed", member), tmp_path / "app")
    assert {path.name for path in tmp_path.iterdir()} == {"packed", "app"}


def test_nothing_is_written_through_a_link_to_the_interpreter(tmp_path: Path) -> None:
    before = Path(PYTHON).stat()
    through = archive(tmp_path / "through", link("python", PYTHON), file("python/x"))
    with pytest.raises(ZeitworkError):
        _unpack(through, tmp_path / "one")
    over = archive(tmp_path / "over", link("python", PYTHON), file("python"))
    try:
        _unpack(over, tmp_path / "two")
    except ZeitworkError:
        pass
    else:
        assert not (tmp_path / "two" / "python").is_symlink()
    after = Path(PYTHON).stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
