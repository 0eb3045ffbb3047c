"""Real servers, and processes of their own for everything that is measured or that measures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from cli.child import Child
from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from cli.embedded.valkey import ValkeyServer
from cli.log_files import LogFile
from db import migrate
from events.topology import provision_url
from tests.support.servers import free_port

SECRET = "measured"
_ROOT = Path(__file__).parents[2]
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Stage:
    """NATS (fsync before each acknowledgement), PostgreSQL (fsync on) and Valkey, all empty."""

    directory: Path
    nats_url: str
    database_url: str
    cache_url: str

    @asynccontextmanager
    async def api(self) -> AsyncIterator[tuple[Child, int]]:
        """`zeitwork serve api`, ready; the process and its port."""
        port = free_port()
        async with self._serving("api", ZEITWORK_API__PORT=str(port)) as child:
            yield child, port

    @asynccontextmanager
    async def consumers(self) -> AsyncIterator[Child]:
        """`zeitwork serve consumers`, every group, ready."""
        async with self._serving("consumers") as child:
            yield child

    @asynccontextmanager
    async def _serving(self, name: str, **env: str) -> AsyncIterator[Child]:
        ops = free_port()
        log = LogFile(self.directory / f"{name}.log")
        settings = {
            "ZEITWORK_DATA_DIR": str(self.directory / "data"),
            "ZEITWORK_LOG_FORMAT": "json",
            "ZEITWORK_DATABASE_URL": self.database_url,
            "ZEITWORK_NATS_URL": self.nats_url,
            "ZEITWORK_CACHE_URL": self.cache_url,
            "ZEITWORK_API_TOKEN": SECRET,
            "ZEITWORK_NODE_TOKEN": SECRET,
            "ZEITWORK_GITHUB_WEBHOOK_SECRET": SECRET,
            f"ZEITWORK_{name.upper()}__OPS_PORT": str(ops),
            **env,
        }
        child = Child(
            name,
            argv=(sys.executable, "-m", "cli.main", "serve", name),
            env={**environment(), **settings},
            ready_url=f"http://127.0.0.1:{ops}/readyz",
            sink=log.write,
        )
        try:
            await child.start()
            yield child
        finally:
            await child.stop()
            log.close()


class Script:
    """A module of this package in a process of its own; it tells what it found as JSON lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, *, within: float) -> Any:
        """The next thing it tells."""
        assert self._process.stdout is not None
        async with asyncio.timeout(within):
            said = await self._process.stdout.readline()
        if not said:
            raise RuntimeError(f"a measuring process ended early ({self._process.returncode})")
        return json.loads(said)

    def ask_to_stop(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def stop(self) -> None:
        self.ask_to_stop()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def script(module: str, **options: object) -> AsyncIterator[Script]:
    """`python -m tests.benchmarks.MODULE --OPTION VALUE …`, stopped after the block."""
    arguments = [
        part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.benchmarks.{module}",
        *map(str, arguments),
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
        env=environment(),
        limit=16 * 1024 * 1024,
    )
    started = Script(process)
    try:
        yield started
    finally:
        await started.stop()


def tell(found: object) -> None:
    """A script's side of `Script.says`."""
    print(json.dumps(found), flush=True)


def environment() -> Mapping[str, str]:
    """Ours, without settings that would change what is measured."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZEITWORK_", "OTEL_"))
    }


@asynccontextmanager
async def stage(directory: Path) -> AsyncIterator[Stage]:
    """Servers with schema, streams and durables, below an empty `directory`."""
    servers = (
        NatsServer(directory / "nats", port=free_port(), monitor_port=free_port()),
        PostgresServer(directory / "postgres", port=free_port()),
        ValkeyServer(directory / "valkey", port=free_port()),
    )
    async with AsyncExitStack() as stack:
        for server in servers:
            stack.push_async_callback(server.stop)
            await server.start()
        nats, postgres, cache = (server.url.get_secret_value() for server in servers)
        await migrate.upgrade(SecretStr(postgres))
        await provision_url(nats)
        yield Stage(directory, nats, postgres, cache)
