from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import nats
import psutil
import psycopg
import pytest
import redis.asyncio as redis

from cli.embedded import programs
from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from cli.embedded.server import EmbeddedServer, connection
from cli.embedded.valkey import ValkeyServer
from tests.support.eventually import eventually
from tests.support.servers import PostgresAdmin, database_name, free_port
from zeitwork.errors import ProgramFailed


@asynccontextmanager
async def started(server: EmbeddedServer) -> AsyncIterator[str]:
    """Run the server for the block; its URL."""
    try:
        await server.start()
        yield server.url.get_secret_value()
    finally:
        await server.stop()


def make(name: str, directory: Path) -> EmbeddedServer:
    if name == "nats":
        return NatsServer(directory, port=free_port(), monitor_port=free_port())
    if name == "postgres":
        return PostgresServer(directory, port=free_port())
    return ValkeyServer(directory, port=free_port())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of an initialised PostgreSQL that stopped in order, to copy."""
    directory = tmp_path_factory.mktemp("cluster") / "postgres"

    async def initialise() -> None:
        async with started(make("postgres", directory)):
            pass

    asyncio.run(initialise())
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def postgres(cluster: Path, tmp_path: Path) -> PostgresServer:
    directory = tmp_path / "postgres"
    shutil.copytree(cluster, directory, copy_function=shutil.copy2)
    return PostgresServer(directory, port=free_port())


async def test_nats_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    server = make("nats", tmp_path / "nats")
    async with started(server) as url:
        client = await nats.connect(url)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"on disk")
        await client.close()
        server.kill()
        await server.wait()

    async with started(make("nats", tmp_path / "nats")) as url:
        client = await nats.connect(url)
        message = await client.jetstream().get_msg("KEPT", 1)
        assert message.data == b"on disk"
        await client.close()


async def test_nats_refuses_a_client_without_the_token(nats_url: str) -> None:
    # Not through nats-py: it leaves its socket open when it is refused.
    _, _, port = nats_url.rpartition(":")
    async with connection(int(port)) as (reader, writer):
        await reader.readline()
        writer.write(b"CONNECT {}\r\nPING\r\n")
        assert b"Authorization Violation" in await reader.readline()


async def test_nats_tells_its_monitoring_port(nats_monitor_url: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{nats_monitor_url}/jsz?config=true") as answer,
    ):
        assert (await answer.json())["config"]["sync_interval"] > 0
    async with aiohttp.ClientSession() as session, session.get(f"{nats_monitor_url}/healthz") as ok:
        assert ok.status == 200


async def test_postgres_keeps_its_data_and_its_password_through_a_restart(
    postgres: PostgresServer,
) -> None:
    async with started(postgres) as url:
        await _execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    again = PostgresServer(postgres.directory, port=free_port())
    async with started(again) as url:
        assert await _value(url, "SELECT answer FROM kept") == 42


async def test_postgres_recovers_what_was_committed_before_a_kill(postgres: PostgresServer) -> None:
    async with started(postgres) as url:
        await _execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        postgres.kill()
        await postgres.wait()
    assert (postgres.directory / "data" / "postmaster.pid").exists()

    async with started(postgres) as url:
        assert await _value(url, "SELECT answer FROM kept") == 42


async def test_postgres_starts_although_its_old_pid_is_another_program_now(
    postgres: PostgresServer,
) -> None:
    # After a container's restart the number in the file soon belongs to a stranger.
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        lines = [str(stranger.pid), str(postgres.directory / "data"), "1", "5432", "", "", "", ""]
        (postgres.directory / "data" / "postmaster.pid").write_text("\n".join(lines))
        async with started(postgres) as url:
            assert await _value(url, "SELECT 1") == 1
        assert stranger.returncode is None
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_second_postgres_on_the_same_data_is_refused(postgres: PostgresServer) -> None:
    async with started(postgres) as url:
        second = PostgresServer(postgres.directory, port=free_port())
        with pytest.raises(ProgramFailed, match=r"already|exists"):
            await second.start()
        assert await _value(url, "SELECT 1") == 1


async def test_a_killed_initialisation_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    async with started(make("postgres", tmp_path / "postgres")) as url:
        assert await _value(url, "SELECT 1") == 1
    assert not half.exists()


async def test_the_role_is_an_ordinary_one_that_owns_its_database(database_url: str) -> None:
    row = await _value(
        database_url,
        "SELECT (rolsuper, rolbypassrls, rolcreaterole, rolcreatedb, rolreplication)::text "
        "FROM pg_roles WHERE rolname = current_user",
    )
    assert row == "(f,f,f,f,f)"
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert await _value(database_url, owner) == "zeitwork"
    assert await _value(database_url, "SHOW fsync") == "on"


async def test_postgres_ends_within_its_grace_although_clients_stay(
    postgres: PostgresServer,
) -> None:
    async with started(postgres) as url:
        pid = postgres.pid
        assert pid is not None
        idle = await psycopg.AsyncConnection.connect(url)
        await postgres.stop()
        await idle.close()
    log = (postgres.directory / "postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")
    assert not psutil.pid_exists(pid)


async def test_valkey_is_a_bounded_cache_behind_a_password(cache_url: str) -> None:
    async with redis.Redis.from_url(cache_url) as client:
        settings = await client.config_get("maxmemory*", "save", "appendonly")
    assert settings["maxmemory"] == str(64 * 1024 * 1024)
    assert settings["maxmemory-policy"] == "allkeys-lru"
    assert (settings["save"], settings["appendonly"]) == ("", "no")

    open_url = "redis://" + cache_url.partition("@")[2]
    async with redis.Redis.from_url(open_url) as client:
        with pytest.raises(redis.AuthenticationError):
            await client.get("anything")


@pytest.mark.parametrize("name", ["nats", "postgres", "valkey"])
async def test_secrets_are_kept_private_and_out_of_logs(name: str, tmp_path: Path) -> None:
    os.umask(0)  # the modes must not depend on it
    try:
        server = make(name, tmp_path / name)
        async with started(server) as url:
            assert url == server.url.get_secret_value()
            assert url not in repr(server.url)
            assert server.pid is not None
            command = " ".join(psutil.Process(server.pid).cmdline())
        async with started(server) as again:
            assert again == url
    finally:
        os.umask(0o022)
    secrets = [
        path
        for path in (tmp_path / name).iterdir()
        if path.suffix == ".password" or path.name in {"password", "token"}
    ]
    assert secrets
    for path in secrets:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert len(path.read_text()) >= 32
        assert path.read_text() not in command
        assert path.read_text() not in (tmp_path / name / f"{name}.log").read_text()
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / name / f"{name}.log").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["nats", "valkey"])
async def test_a_taken_port_fails_the_start_with_the_server_s_own_words(
    name: str, tmp_path: Path
) -> None:
    async with started(make(name, tmp_path / "first")) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        second = (
            NatsServer(tmp_path / "second", port=port, monitor_port=free_port())
            if name == "nats"
            else ValkeyServer(tmp_path / "second", port=port)
        )
        with pytest.raises(ProgramFailed, match=r"(?i)address already in use"):
            await second.start()
    assert second.pid is None


@pytest.mark.parametrize("name", ["nats", "postgres", "valkey"])
async def test_a_server_that_was_killed_is_not_ready_and_starts_again(
    name: str, tmp_path: Path
) -> None:
    server = make(name, tmp_path / name)
    await server.stop()  # harmless before the first start
    async with started(server):
        assert await server.ready() is None
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        await server.wait()
        assert await server.ready() == "ended with -9"
        await server.start()
        assert await server.ready() is None
    assert await server.ready() == "is not running"
    await server.stop()


async def test_each_database_of_a_test_is_its_own(
    postgres_admin: PostgresAdmin, empty_database_url: str
) -> None:
    await _execute(empty_database_url, "CREATE TABLE mine AS SELECT 7 AS number")
    copy = postgres_admin.create_database(template=database_name(empty_database_url))
    other = postgres_admin.create_database()
    try:
        assert await _value(copy, "SELECT number FROM mine") == 7
        assert await _value(other, "SELECT to_regclass('mine')") is None
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'mine'"
        assert await _value(copy, owner) == "zeitwork"
    finally:
        postgres_admin.drop_database(copy)
        postgres_admin.drop_database(other)
    with pytest.raises(psycopg.OperationalError, match=r"does not exist"):
        await _value(copy, "SELECT 1")


def test_the_wheels_bring_every_program() -> None:
    assert [path.name for path in programs()] == ["nats-server", "postgres", "valkey-server"]


async def test_the_background_processes_of_a_killed_postgres_end(postgres: PostgresServer) -> None:
    async with started(postgres):
        assert postgres.pid is not None
        family = psutil.Process(postgres.pid).children(recursive=True)
        assert family
        postgres.kill()
        await eventually(lambda: not any(_runs(each) for each in family))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _execute(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement.encode())


async def _value(url: str, query: str) -> object:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        row = await (await connection.execute(query.encode())).fetchone()
    assert row is not None
    return row[0]
