"""The processes of compose.yaml run on the environment and the files that it gives them."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest
from pydantic import SecretStr
from typing_extensions import override

from cli.child import Child
from cli.embedded import nats as embedded_nats
from cli.embedded import valkey as embedded_valkey
from cli.embedded.server import connection
from cli.program import Command, Program
from db import migrate
from tests.support import compose
from tests.support.compose import ROOT
from tests.support.servers import free_port

SERVICES = compose.read()["services"]
SECRETS = {
    **{name: f"zw_{name.lower()}" for name in compose.variables(compose.read())},
    "ZEITWORK_SECRET_KEYS": f"first:{b64encode(bytes(32)).decode()}",
}
OPS = {
    "api": "API",
    "builds": "CONSUMERS",
    "consumers": "CONSUMERS",
    "node": "NODE",
    "proxy": "PROXY",
}


class _Nats(Program):
    """The nats service: the same version, configuration and environment, in another place."""

    def __init__(self, port: int, directory: Path) -> None:
        self.lines: list[str] = []
        super().__init__("nats", sink=self.lines.append)
        self.port = port
        self.monitor_port = free_port()
        self._directory = directory

    @override
    async def command(self) -> Command:
        text = (ROOT / "deploy" / "nats.conf").read_text()
        text = text.replace("0.0.0.0:4222", f"127.0.0.1:{self.port}")
        text = text.replace("0.0.0.0:8222", f"127.0.0.1:{self.monitor_port}")
        text = text.replace("store_dir: /data", f"store_dir: {json.dumps(str(self._directory))}")
        configuration = self._directory / "nats.conf"
        configuration.write_text(text)
        argv = [str(embedded_nats.program()), "--config", str(configuration)]
        return Command(argv, env=compose.environment(SERVICES["nats"], SECRETS))

    @override
    async def probe(self) -> str | None:
        async with connection(self.monitor_port):
            return None


class _Valkey(Program):
    """The valkey service: its shell command as it is, with the file and the port of the test."""

    def __init__(self, port: int, directory: Path) -> None:
        self.lines: list[str] = []
        super().__init__("valkey", sink=self.lines.append)
        self.port = port
        self._directory = directory

    @override
    async def command(self) -> Command:
        text = (ROOT / "deploy" / "valkey.conf").read_text()
        file = self._directory / "valkey.conf"
        file.write_text(text.replace("port 6379", f"port {self.port}"))
        shell, flag, script = compose.interpolated(SERVICES["valkey"]["command"], SECRETS)
        script = script.replace("/etc/valkey/zeitwork.conf", str(file))
        script = script.replace("valkey-server", str(embedded_valkey.program()))
        env = {"PATH": "/usr/bin:/bin", **compose.environment(SERVICES["valkey"], SECRETS)}
        return Command([shell, flag, script], env=env)

    @override
    async def probe(self) -> str | None:
        async with connection(self.port) as (reader, writer):
            writer.write(f"AUTH {SECRETS['VALKEY_PASSWORD']}\r\nPING\r\n".encode())
            answers = [await reader.readline(), await reader.readline()]
        return None if answers == [b"+OK\r\n", b"+PONG\r\n"] else f"answers {answers}"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[_Nats]:
    directory = tmp_path / "nats"
    directory.mkdir()
    server = _Nats(free_port(), directory)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[_Valkey]:
    directory = tmp_path / "valkey"
    directory.mkdir()
    server = _Valkey(free_port(), directory)
    await server.start()
    yield server
    await server.stop()


async def test_the_broker_wants_the_token_and_syncs_every_write(broker: _Nats) -> None:
    assert await _ping(broker, {}) == b"-ERR 'Authorization Violation'\r\n"
    assert await _ping(broker, {"auth_token": SECRETS["NATS_TOKEN"]}) == b"PONG\r\n"
    with urlopen(f"http://127.0.0.1:{broker.monitor_port}/jsz?config=true") as answer:
        assert json.load(answer)["config"]["sync_always"] is True


async def test_the_cache_wants_the_password(cache: _Valkey) -> None:
    async with connection(cache.port) as (reader, writer):
        writer.write(b"PING\r\n")
        assert (await reader.readline()).startswith(b"-NOAUTH")


@pytest.mark.timeout(150)
async def test_every_service_becomes_ready_in_the_order_of_compose(
    broker: _Nats, cache: _Valkey, empty_database_url: str, tmp_path: Path
) -> None:
    places = {
        "ZEITWORK_DATABASE_URL": empty_database_url,
        "ZEITWORK_NATS_URL": f"nats://{SECRETS['NATS_TOKEN']}@127.0.0.1:{broker.port}",
        "ZEITWORK_CACHE_URL": f"redis://:{SECRETS['VALKEY_PASSWORD']}@127.0.0.1:{cache.port}/0",
        "ZEITWORK_API__PORT": str(free_port()),
        "ZEITWORK_PROXY__PORT": str(free_port()),
    }
    places["ZEITWORK_NODE__API_URL"] = f"http://127.0.0.1:{places['ZEITWORK_API__PORT']}"

    for name in ("migrate", "provision"):
        argv = [sys.executable, "-m", "cli.main", *SERVICES[name]["command"]]
        env = _environment(name, places, tmp_path)
        done = subprocess.run(argv, env=env, check=False, capture_output=True, timeout=50)
        assert done.returncode == 0, done.stderr
    assert await migrate.current(SecretStr(empty_database_url)) == migrate.head()

    async with AsyncExitStack() as stack:
        for name in ("api", "consumers", "builds", "node", "proxy"):
            child = _service(name, places, tmp_path)
            stack.push_async_callback(child.stop)
            await child.start()
        assert (tmp_path / "node" / "node").is_dir()


def _service(name: str, places: Mapping[str, str], directory: Path) -> Child:
    ops_port = free_port()
    return Child(
        name,
        argv=[sys.executable, "-m", "cli.main", *SERVICES[name]["command"]],
        env={
            **_environment(name, places, directory),
            f"ZEITWORK_{OPS[name]}__OPS_PORT": str(ops_port),
        },
        ready_url=f"http://127.0.0.1:{ops_port}/readyz",
        sink=deque[str](maxlen=50).append,
    )


def _environment(name: str, places: Mapping[str, str], directory: Path) -> dict[str, str]:
    """What compose gives the service; of the test's places, only what it is given there too."""
    given = compose.environment(SERVICES[name], SECRETS)
    own = {"ZEITWORK_API__PORT", "ZEITWORK_PROXY__PORT"}
    moved = {key: value for key, value in places.items() if key in given or key in own}
    hosts = {key: "127.0.0.1" for key in given if key.endswith("__HOST")}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(directory),
        "ZEITWORK_DATA_DIR": str(directory / name),
        **given,
        **moved,
        **hosts,
    }


async def _ping(broker: _Nats, credentials: Mapping[str, str]) -> bytes:
    said = {"verbose": False, "pedantic": False, **credentials}
    async with connection(broker.port) as (reader, writer):
        await reader.readline()
        writer.write(f"CONNECT {json.dumps(said)}\r\nPING\r\n".encode())
        return await reader.readline()
