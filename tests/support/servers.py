"""Fixtures: real NATS, PostgreSQL and Valkey, one of each per test process, started when asked for.

Their processes live in an event loop of their own, on a thread, because pytest-asyncio gives every
test a new loop and a process belongs to the loop that started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import tempfile
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import sql

from cli.embedded.nats import NatsServer
from cli.embedded.postgres import ROLE, PostgresServer
from cli.embedded.server import EmbeddedServer
from cli.embedded.valkey import ValkeyServer
from cli.ports import is_free
from zeitwork.errors import ProgramFailed

T = TypeVar("T")
S = TypeVar("S", bound=EmbeddedServer)
_START_SECONDS = 60.0
_ATTEMPTS = 3
# Below the kernel's range for outgoing connections, which could take a port before its server.
_PORTS = range(10_000, 19_900)


def free_port() -> int:
    """A port that nothing listens on now; other test processes choose at random too."""
    while True:
        port = random.choice(_PORTS)
        if is_free(port):
            return port


class ServerHost:
    """An event loop on a thread that owns the server processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)

    @contextlib.contextmanager
    def running(self, make: Callable[[], S]) -> Iterator[S]:
        """A started server; `make` is called again when another process took its port."""
        server = self._started(make)
        try:
            yield server
        finally:
            self.run(server.stop())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _started(self, make: Callable[[], S]) -> S:
        for attempt in itertools.count(1):
            server = make()
            try:
                self.run(server.start())
            except ProgramFailed:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return server
        raise AssertionError("unreachable")


class PostgresAdmin:
    """Makes and drops databases on the session's PostgreSQL, as its superuser."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._numbers = itertools.count(1)

    @property
    def url(self) -> str:
        """The superuser's."""
        return self._server.superuser_url.get_secret_value()

    def create_database(self, template: str | None = None) -> str:
        """A new database owned by the ordinary role, empty or a copy of database `template`.

        Nobody may be connected to `template`. The answer is the role's URL.
        """
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        self._execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(ROLE), sql.Identifier(template or "template1")
            )
        )
        base, _, _ = self._server.url.get_secret_value().rpartition("/")
        return f"{base}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop it, ending the connections that are left."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
        self._execute(statement.format(sql.Identifier(database_name(url))))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(statement)


def database_name(url: str) -> str:
    return url.rpartition("/")[2]


@pytest.fixture(scope="session")
def server_host() -> Iterator[ServerHost]:
    with tempfile.TemporaryDirectory(prefix="zeitwork-test-") as directory:
        host = ServerHost(Path(directory))
        try:
            yield host
        finally:
            host.close()


@pytest.fixture(scope="session")
def nats_server(server_host: ServerHost) -> Iterator[NatsServer]:
    def make() -> NatsServer:
        directory = server_host.directory / "nats"
        return NatsServer(directory, port=free_port(), monitor_port=free_port())

    with server_host.running(make) as server:
        yield server


@pytest.fixture(scope="session")
def nats_url(nats_server: NatsServer) -> str:
    return nats_server.url.get_secret_value()


@pytest.fixture(scope="session")
def nats_monitor_url(nats_server: NatsServer) -> str:
    return nats_server.monitor_url


@pytest.fixture
def own_nats_server(server_host: ServerHost, tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may kill or change."""
    directory = tmp_path / "nats"
    with server_host.running(
        lambda: NatsServer(directory, port=free_port(), monitor_port=free_port())
    ) as server:
        yield server


@pytest.fixture
def own_nats_url(own_nats_server: NatsServer) -> str:
    return own_nats_server.url.get_secret_value()


@pytest.fixture(scope="session")
def postgres_server(server_host: ServerHost) -> Iterator[PostgresServer]:
    directory = server_host.directory / "postgres"
    with server_host.running(lambda: PostgresServer(directory, port=free_port())) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_admin(postgres_server: PostgresServer) -> PostgresAdmin:
    return PostgresAdmin(postgres_server)


@pytest.fixture(scope="session")
def database_url(postgres_server: PostgresServer) -> str:
    """The server's own database, shared by the whole session, without a schema."""
    return postgres_server.url.get_secret_value()


@pytest.fixture
def empty_database_url(postgres_admin: PostgresAdmin) -> Iterator[str]:
    """A database of the test's own, empty, owned by the ordinary role."""
    url = postgres_admin.create_database()
    yield url
    postgres_admin.drop_database(url)


@pytest.fixture(scope="session")
def valkey_server(server_host: ServerHost) -> Iterator[ValkeyServer]:
    directory = server_host.directory / "valkey"
    with server_host.running(lambda: ValkeyServer(directory, port=free_port())) as server:
        yield server


@pytest.fixture(scope="session")
def cache_url(valkey_server: ValkeyServer) -> str:
    return valkey_server.url.get_secret_value()
