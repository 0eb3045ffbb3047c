"""PostgreSQL dies under load, or commits and cannot say so."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from consumers.registry import GROUPS
from tests.failures.lossy_link import Loses, lossy
from tests.failures.platform import Backends, platform_on
from tests.support.eventually import eventually
from tests.support.servers import ServerHost

pytestmark = pytest.mark.timeout(240)
_LOST = 6
_FACTS = ",".join(group for group in GROUPS if group != "builds")
_PARTS = {
    "api": ("api",),
    "facts": ("consumers", "--only", _FACTS),
    "builds": ("consumers", "--only", "builds"),
    "node": ("node",),
}


async def test_postgres_is_killed_under_load(
    server_host: ServerHost,
    own_nats_server: NatsServer,
    own_postgres: PostgresServer,
    cache_url: str,
    tmp_path: Path,
) -> None:
    """First one of its own processes, which makes it begin anew; then all of it."""
    url = own_postgres.url.get_secret_value()
    backends = Backends(server_host, own_nats_server, url, cache_url)
    async with platform_on(backends, tmp_path) as platform:
        await platform.start_all()
        async with platform.sender.load(per_second=10, most=30):
            await platform.sender.until_acknowledged(4)
            _backend_of(own_postgres).kill()
            await platform.sender.until_acknowledged(8)
            await platform.kill_server(own_postgres)
            await platform.start_server(own_postgres)
        assert platform.sender.failures > 0
        await platform.settle()
        await platform.goes_live("after two deaths of PostgreSQL")


@pytest.mark.parametrize(
    ("process", "loses"),
    [
        pytest.param("api", "saying", id="intake"),
        pytest.param("api", "taking", id="relay"),
        pytest.param("facts", "saying", id="facts"),
        # A lease whose taking was not confirmed runs out before another builder gets the build.
        pytest.param("builds", "saying", id="builds", marks=pytest.mark.slow),
    ],
)
async def test_a_commit_whose_answer_is_lost_takes_effect_once(
    server_host: ServerHost,
    own_nats_server: NatsServer,
    migrated_url: str,
    cache_url: str,
    tmp_path: Path,
    process: str,
    loses: Loses,
) -> None:
    """Every second one that carries an event, six of them, of one process."""
    target = _port(migrated_url)
    backends = Backends(server_host, own_nats_server, migrated_url, cache_url)
    async with (
        lossy(target, loses=loses, each=2, most=_LOST) as link,
        platform_on(backends, tmp_path) as platform,
    ):
        unsteady = migrated_url.replace(f":{target}/", f":{link.port}/")
        for name, argv in _PARTS.items():
            platform.launch(name, *argv, database_url=unsteady if name == process else None)
        for each in platform.processes.values():
            await each.until_ready()
        assert link.lost < _LOST - 2, "the load has nothing left to lose"
        async with platform.sender.load(per_second=10, most=60):
            await eventually(lambda: link.lost == _LOST, timeout=60)
        await platform.settle(within=100)
        await platform.goes_live("after lost answers", within=100)


def _backend_of(server: PostgresServer) -> psutil.Process:
    """The process of a connection of the platform's; the others are the server's own."""
    assert server.pid is not None
    (found, *_) = [
        child
        for child in psutil.Process(server.pid).children()
        if "zeitwork zeitwork" in " ".join(child.cmdline())
    ]
    return found


def _port(url: str) -> int:
    return int(url.rpartition("/")[0].rpartition(":")[2])
