"""What the embedded servers share: a directory, a port on this machine, a secret URL, a log."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr
from typing_extensions import override

from cli.log_files import LogFile
from cli.program import Program

HOST = "127.0.0.1"


class EmbeddedServer(Program):
    """A server below `directory`, on 127.0.0.1 only; its output goes to `logs/NAME.log`."""

    def __init__(self, name: str, *, directory: Path, port: int, logs: Path | None = None) -> None:
        self._log_file = LogFile((logs or directory) / f"{name}.log")
        super().__init__(name, sink=self._log_file.write)
        self._directory = directory.absolute()
        self._port = port

    @property
    def directory(self) -> Path:
        return self._directory

    @property
    def port(self) -> int:
        return self._port

    @property
    @abc.abstractmethod
    def url(self) -> SecretStr:
        """Where clients reach it, with its secret; the secret is made on first use."""

    @override
    async def stop(self) -> None:
        await super().stop()
        self._log_file.close()


@asynccontextmanager
async def connection(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a server of ours, for asking whether it answers; the caller sets the time."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        # Nothing is left to flush, and a close handshake could hang.
        writer.transport.abort()
