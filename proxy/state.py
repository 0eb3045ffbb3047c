"""The last table on disk: the proxy starts from it when database and broker are away.

The file holds a line of JSON with the count and SHA-256 of what follows, then one route a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import ValidationError
from typing_extensions import override

from events.routes import Route
from proxy.table import RoutingTable
from zeitwork import clock, logs
from zeitwork.service import Worker

_log = logs.get(__name__)
_FORMAT = 1
_REST_SECONDS = 1.0  # at most one write a second, however many routes change


class StateFile:
    """One file; written aside and renamed, so that a reader sees a whole table or the older one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writing = threading.Lock()

    def read(self) -> Sequence[Route] | None:
        """The routes that were saved; None, with a line in the log, if there are none to use."""
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
        except FileNotFoundError:
            _log.info("no saved routing table", path=str(self.path))
            return None
        except OSError as error:
            _log.warning("saved routing table is unreadable", path=str(self.path), error=str(error))
            return None
        try:
            return _decode(head, body)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            _log.warning("saved routing table is damaged", path=str(self.path), error=str(error))
            return None

    def write(self, routes: Iterable[Route]) -> None:
        """Replace the file; blocks, so call it in a thread.

        Calls take turns: a cancelled caller's write goes on in its thread, and must not come last.

        Raises:
            OSError: the older file is untouched.
        """
        with self._writing:
            self._replace(routes)

    def _replace(self, routes: Iterable[Route]) -> None:
        lines = [route.model_dump_json().encode() + b"\n" for route in routes]
        digest = hashlib.sha256()
        for line in lines:
            digest.update(line)
        head = {"format": _FORMAT, "count": len(lines), "sha256": digest.hexdigest()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(json.dumps(head).encode() + b"\n")
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_directory(self.path.parent)


class Keeper(Worker):
    """Saves the table soon after it changed, and once more at the end."""

    name = "state-keeper"

    def __init__(self, file: StateFile) -> None:
        super().__init__()
        self._file = file
        self._unsaved: RoutingTable | None = None
        self._changed = asyncio.Event()

    def save(self, table: RoutingTable) -> None:
        """Write `table` before long, unless a newer one comes first."""
        self._unsaved = table
        self._changed.set()

    @override
    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._write()
            await clock.sleep(_REST_SECONDS)

    @override
    async def stop(self) -> None:
        await super().stop()
        await self._write()

    async def _write(self) -> None:
        table, self._unsaved = self._unsaved, None
        if table is None:
            return
        try:
            await asyncio.to_thread(self._file.write, table.routes())
        except OSError as error:
            # Serving goes on; the next change tries again.
            _log.error("routing table cannot be saved", path=str(self._file.path), error=str(error))


def _decode(head: bytes, body: bytes) -> Sequence[Route]:
    said = json.loads(head)
    if said["format"] != _FORMAT:
        raise ValueError(f"format {said['format']} is not known here")
    if hashlib.sha256(body).hexdigest() != said["sha256"]:
        raise ValueError("the checksum does not match")
    routes = [Route.model_validate_json(line) for line in body.splitlines()]
    if len(routes) != said["count"]:
        raise ValueError("the number of routes does not match")
    return routes


def _sync_directory(path: Path) -> None:
    """Make the rename itself survive a power cut, where the system lets a directory be synced."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
