"""What instances print: a bounded file each, and its new lines told to whoever follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from events import subjects
from events.bus import Bus, Message
from node.runtimes.base import log_file
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.loops import Loop
from zeitwork.masking import Lines, Masking

_log = logs.get(__name__)
_LOOK_SECONDS = 0.5
_MOST_BYTES = 5 * 1024 * 1024  # then the file starts anew; one old one is kept
_BATCH_BYTES = 64 * 1024  # a look; an instance that prints faster for long has lines skipped
_LAST_BATCHES = 16
_LINE_CHARACTERS = 8_000
_MESSAGE_BYTES = 128 * 1024  # half of what the stream takes
_TAIL_BYTES = 3 * 1024  # the control plane keeps 4000 characters of a failure
_TAIL_LINES = 10


@dataclass(slots=True)
class _Watch:
    """A log that is shipped, and how far it has been."""

    path: Path
    offset: int
    lines: Lines


class LogShipper(Loop):
    """Ships the lines of watched instances. Following live may lose lines; the file has them."""

    def __init__(self, bus: Bus) -> None:
        super().__init__("log-shipper", self.ship, interval=_LOOK_SECONDS)
        self._bus = bus
        self._watches: dict[str, _Watch] = {}

    def watch(self, instance_id: str, run: Path, *, masking: Masking) -> None:
        """Ship what is printed from now on; what waits to be shipped still is."""
        path = log_file(run)
        size = path.stat().st_size if path.exists() else 0
        self._watches.setdefault(instance_id, _Watch(path, size, Lines(masking)))

    async def unwatch(self, instance_id: str) -> None:
        """Ship what is left, also a last line without its end."""
        watch = self._watches.pop(instance_id, None)
        if watch is None:
            return
        for _ in range(_LAST_BATCHES):
            if not await self._ship_some(instance_id, watch, whole_lines=False):
                break
        await self._tell(instance_id, watch.lines.flush())

    async def ship(self) -> None:
        """One look at every watched log."""
        for instance_id, watch in [*self._watches.items()]:
            await self._ship_some(instance_id, watch, whole_lines=True)
            skipped = await asyncio.to_thread(_bound, watch)
            if skipped:
                said = f"[{skipped} bytes skipped: this is printed faster than it is shipped]"
                await self._tell(instance_id, [*watch.lines.flush(), said])

    async def _ship_some(self, instance_id: str, watch: _Watch, *, whole_lines: bool) -> bool:
        data = await asyncio.to_thread(_read, watch.path, watch.offset)
        if b"\n" in data or (whole_lines and len(data) < _BATCH_BYTES):
            data = data[: data.rfind(b"\n") + 1]
        if not data:
            return False
        watch.offset += len(data)
        text = data.decode("utf-8", "replace")
        await self._tell(instance_id, await asyncio.to_thread(watch.lines.feed, text))
        return True

    async def _tell(self, instance_id: str, lines: Sequence[str]) -> None:
        if not lines:
            return
        subject = subjects.log("instance", instance_id)
        messages = [Message(subject, body) for body in _bodies(lines, at=clock.now().isoformat())]
        try:
            await self._bus.publish(messages)
        except ZeitworkError as error:
            _log.debug("log lines not shipped", instance_id=instance_id, code=error.code)


def tail(run: Path, *, masking: Masking) -> str:
    """The last ten lines, for the report of a failure; empty when it printed nothing."""
    path = log_file(run)
    if not path.exists():
        return ""
    with path.open("rb") as file:
        # A value that begins before the tail is only known by its beginning.
        size = path.stat().st_size
        file.seek(max(0, size - _TAIL_BYTES - masking.longest_bytes))
        before = file.read(max(0, size - file.tell() - _TAIL_BYTES))
        text = file.read(_TAIL_BYTES)
    stream = masking.stream()
    stream.feed(before.decode("utf-8", "replace"))
    shown = stream.feed(text.decode("utf-8", "replace")) + stream.flush()
    return "\n".join(logs.masked(shown).splitlines()[-_TAIL_LINES:])


def _bodies(output: Sequence[str], *, at: str) -> Iterator[bytes]:
    """Messages of lines, each small enough for the stream, whatever the bytes become in JSON."""
    lines: list[str] = []
    size = 0
    for line in map(logs.masked, output):
        encoded = json.dumps({"at": at, "line": line[:_LINE_CHARACTERS]}, ensure_ascii=False)
        size += len(encoded.encode())
        if lines and size > _MESSAGE_BYTES:
            yield _body(lines)
            lines, size = [], len(encoded.encode())
        lines.append(encoded)
    yield _body(lines)


def _body(lines: list[str]) -> bytes:
    return f'{{"lines": [{", ".join(lines)}]}}'.encode()


def _read(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(_BATCH_BYTES)
    except FileNotFoundError:
        return b""


def _bound(watch: _Watch) -> int:
    """Start a file that has become too long anew; how many bytes will not be shipped."""
    try:
        size = watch.path.stat().st_size
    except FileNotFoundError:
        return 0
    if size <= _MOST_BYTES:
        return 0
    skipped = size - watch.offset
    _rotate(watch.path)
    watch.offset = 0
    return skipped


def _rotate(path: Path) -> None:
    """Copy the end and truncate: the instance holds the file open for appending."""
    with path.open("r+b") as file, path.with_suffix(".1.log").open("wb") as old:
        file.seek(-_MOST_BYTES, 2)
        old.write(file.read(_MOST_BYTES))  # it may grow faster than it is copied
        file.truncate(0)
