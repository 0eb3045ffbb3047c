"""What instances print: a bounded file each, and its new lines told to whoever follows."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

from events import subjects
from events.bus import Bus, Message
from node.runtimes.base import log_file
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.loops import Loop

_log = logs.get(__name__)
_LOOK_SECONDS = 0.5
_MOST_BYTES = 5 * 1024 * 1024  # then the file starts anew; one old one is kept
_BATCH_BYTES = 64 * 1024
_LINE_CHARACTERS = 8_000
_TAIL_BYTES = 8 * 1024
_TAIL_LINES = 10


class LogShipper(Loop):
    """Ships the lines of watched instances. Following live may lose lines; the file has them."""

    def __init__(self, bus: Bus) -> None:
        super().__init__("log-shipper", self._ship_all, interval=_LOOK_SECONDS)
        self._bus = bus
        self._offsets: dict[str, tuple[Path, int]] = {}

    def watch(self, instance_id: str, run: Path, *, from_end: bool) -> None:
        path = log_file(run)
        size = path.stat().st_size if from_end and path.exists() else 0
        self._offsets[instance_id] = (path, size)

    async def unwatch(self, instance_id: str) -> None:
        await self._ship(instance_id)
        self._offsets.pop(instance_id, None)

    async def _ship_all(self) -> None:
        for instance_id in [*self._offsets]:
            await self._ship(instance_id)

    async def _ship(self, instance_id: str) -> None:
        found = self._offsets.get(instance_id)
        if found is None:
            return
        path, offset = found
        data = await asyncio.to_thread(_read, path, offset)
        whole = data[: data.rfind(b"\n") + 1]
        if whole:
            self._offsets[instance_id] = (path, offset + len(whole))
            await self._tell(instance_id, whole)
        if offset > _MOST_BYTES:
            await asyncio.to_thread(_rotate, path)
            self._offsets[instance_id] = (path, 0)

    async def _tell(self, instance_id: str, data: bytes) -> None:
        now = clock.now().isoformat()
        lines = [
            {"at": now, "line": line[:_LINE_CHARACTERS]}
            for line in data.decode("utf-8", "replace").splitlines()
        ]
        body = json.dumps({"lines": lines}).encode()
        try:
            await self._bus.publish([Message(subjects.log("instance", instance_id), body)])
        except ZeitworkError as error:
            _log.debug("log lines not shipped", instance_id=instance_id, code=error.code)


def tail(run: Path) -> str:
    """The last ten lines, for the report of a failure; empty when it printed nothing."""
    path = log_file(run)
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return "\n".join(lines[-_TAIL_LINES:])


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_BATCH_BYTES)
    except FileNotFoundError:
        return b""


def _rotate(path: Path) -> None:
    """Copy and truncate: the instance holds the file open for appending."""
    shutil.copyfile(path, path.with_suffix(".1.log"))
    with path.open("r+b") as file:
        file.truncate(0)
