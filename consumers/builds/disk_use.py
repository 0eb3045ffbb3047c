"""Stop a build that fills the disk: what it has written is measured while it runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from consumers.builds import threads
from consumers.builds.failures import BuildOutOfDisk
from zeitwork import clock
from zeitwork.service import cancel, spawn

T = TypeVar("T")
_PAUSE_SECONDS = 1.0
# Looking at half a million files takes seconds: a tenth of the time is enough for it.
_PAUSE_FOR_EACH_SECOND = 10.0
# What a file costs besides its blocks: its inode and its name.
_ENTRY_BYTES = 512
_ANY = 1 << 62


async def bounded(
    work: Coroutine[Any, Any, T], *, own: Sequence[Path], cache: Path, most_bytes: int
) -> T:
    """The result of `work`, which is cancelled when it uses too much.

    Args:
        own: directories of this build alone.
        cache: a directory that earlier builds have filled; only what is added to it counts.
        most_bytes: what all of it may come to.

    Raises:
        BuildOutOfDisk: it was more.
    """
    working = spawn(work, "build-command")
    watching = spawn(_watch(own, cache, most_bytes), "build-disk-use")
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            watching.result()
        result: T = await working
        return result
    finally:
        await cancel(working, watching)


def measure(folders: Sequence[Path], *, most_bytes: int, stop: Event) -> int:
    """What `folders` hold, in bytes on disk, or a little more than `most_bytes`; blocking.

    A program may be changing them meanwhile: what has gone by the time it is looked at is nothing.
    """
    total = 0
    pending = [os.fspath(folder) for folder in folders]
    while pending and total <= most_bytes:
        threads.check(stop)
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    total += entry.stat(follow_symlinks=False).st_blocks * 512 + _ENTRY_BYTES
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # gone, or a path that is too long: the packing refuses that
            continue
    return total


async def _watch(own: Sequence[Path], cache: Path, most_bytes: int) -> None:
    before = await threads.run(partial(_size_of_cache, cache))
    while True:
        started = clock.monotonic()
        total = await threads.run(
            lambda stop: measure([*own, cache], most_bytes=most_bytes + before, stop=stop)
        )
        if total > most_bytes + before:
            raise BuildOutOfDisk(
                f"The build wrote more than {most_bytes // 1024**2} MiB and was stopped. Make it "
                "write less, and leave out what the application does not need."
            )
        took = clock.monotonic() - started
        await clock.sleep(max(_PAUSE_SECONDS, took * _PAUSE_FOR_EACH_SECOND))


def _size_of_cache(cache: Path, stop: Event) -> int:
    return measure([cache], most_bytes=_ANY, stop=stop)
