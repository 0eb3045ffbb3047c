"""Connections to a PostgreSQL that takes them and then says nothing."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from db.engine import Database
from tests.support.eventually import eventually
from tests.support.servers import free_port
from zeitwork.errors import DatabaseUnavailable


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    """What is closed here is closed by whoever opened it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Silence:
    """A server that counts the connections that it has and never answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.connections = 0

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while await reader.read(1024):
            pass
        self.connections -= 1
        writer.close()


@pytest.fixture
async def silence() -> AsyncIterator[Silence]:
    silence = Silence()
    server = await asyncio.start_server(silence.take, "127.0.0.1", silence.port)
    yield silence
    server.close()
    await server.wait_closed()


@pytest.fixture
async def database(silence: Silence) -> AsyncIterator[Database]:
    url = SecretStr(f"postgresql://u:p@127.0.0.1:{silence.port}/x")
    database = Database(url, application="test")
    yield database
    await database.stop()


async def test_a_probe_that_waits_too_long_leaves_no_connection(
    silence: Silence, database: Database
) -> None:
    with pytest.raises(DatabaseUnavailable, match="in time"):
        await database.probe()
    await eventually(lambda: silence.connections == 0)


async def test_a_connect_that_takes_too_long_leaves_no_connection(
    silence: Silence, database: Database
) -> None:
    with pytest.raises(DatabaseUnavailable, match="timeout"):
        async with database.read():
            pytest.fail("there is nobody to read from")
    await eventually(lambda: silence.connections == 0)


async def test_a_connect_that_is_cancelled_leaves_no_connection(
    silence: Silence, database: Database
) -> None:
    probing = asyncio.ensure_future(database.probe())
    await eventually(lambda: silence.connections == 1)
    probing.cancel()
    await asyncio.wait({probing})
    await eventually(lambda: silence.connections == 0)
