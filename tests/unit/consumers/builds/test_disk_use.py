"""A build that fills the disk is stopped, and one that does not is left alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from threading import Event

import pytest

from consumers.builds import disk_use, threads
from consumers.builds.failures import BuildOutOfDisk

MIB = 1024 * 1024


@pytest.mark.parametrize("where", ["own", "cache"])
async def test_what_writes_too_much_is_cancelled_and_named(tmp_path: Path, where: str) -> None:
    ended = asyncio.Event()
    own, cache = (tmp_path / "own",), tmp_path / "cache"
    for folder in (*own, cache):
        folder.mkdir()

    async def fill() -> None:
        try:
            for number in range(256):  # many turns: what was there before is looked at meanwhile
                path = tmp_path / where / str(number % 9) / str(number)
                path.parent.mkdir(exist_ok=True)
                await asyncio.to_thread(path.write_bytes, bytes(64 * 1024))
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(BuildOutOfDisk, match="more than 1 MiB and was stopped"):
        await disk_use.bounded(fill(), own=own, cache=cache, most_bytes=MIB)
    assert ended.is_set()


async def test_what_ends_in_time_gives_its_result_or_its_error(tmp_path: Path) -> None:
    async def work(result: int) -> int:
        return 6 // result

    (tmp_path / "huge").write_bytes(bytes(2 * MIB))  # of earlier builds, and so not counted
    own = (tmp_path / "missing",)
    assert await disk_use.bounded(work(2), own=own, cache=tmp_path, most_bytes=MIB) == 3
    with pytest.raises(ZeroDivisionError):
        await disk_use.bounded(work(0), own=own, cache=tmp_path, most_bytes=MIB)


def test_blocks_and_names_count_but_holes_do_not(tmp_path: Path) -> None:
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(64 * MIB)
    assert disk_use.measure([tmp_path], most_bytes=MIB, stop=Event()) < MIB // 2
    for number in range(2500):
        (tmp_path / str(number)).touch()
    assert disk_use.measure([tmp_path], most_bytes=MIB, stop=Event()) > MIB


def test_it_can_be_stopped(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(threads.Stopped):
        disk_use.measure([tmp_path], most_bytes=MIB, stop=stop)
