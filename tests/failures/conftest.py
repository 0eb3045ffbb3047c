"""Platforms to do harm to; their servers are their own where a test harms those."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from db import migrate
from tests.failures.platform import Backends, Platform, platform_on
from tests.support.servers import PostgresAdmin, ServerHost, free_port


@pytest.fixture
async def platform(
    server_host: ServerHost,
    own_nats_server: NatsServer,
    migrated_url: str,
    cache_url: str,
    tmp_path: Path,
) -> AsyncIterator[Platform]:
    """A platform whose NATS the test may kill; nothing runs on it yet."""
    backends = Backends(server_host, own_nats_server, migrated_url, cache_url)
    async with platform_on(backends, tmp_path) as made:
        yield made


@pytest.fixture
def own_postgres(server_host: ServerHost, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server with a schema that the test may kill."""
    directory = tmp_path / "postgres"
    with server_host.running(lambda: PostgresServer(directory, port=free_port())) as server:
        server_host.run(migrate.upgrade(server.url))
        yield server


@pytest.fixture(scope="module")
def module_nats(
    server_host: ServerHost, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NatsServer]:
    directory = tmp_path_factory.mktemp("nats")
    with server_host.running(
        lambda: NatsServer(directory, port=free_port(), monitor_port=free_port())
    ) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running_platform(
    server_host: ServerHost,
    module_nats: NatsServer,
    postgres_admin: PostgresAdmin,
    migrated_template: str,
    cache_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Platform]:
    """One platform for a module, whose tests bring back whatever they kill; all of it runs."""
    url = postgres_admin.create_database(template=migrated_template)
    backends = Backends(server_host, module_nats, url, cache_url)
    async with platform_on(backends, tmp_path_factory.mktemp("platform")) as made:
        await made.start_all()
        await made.settle()
        yield made
    postgres_admin.drop_database(url)
