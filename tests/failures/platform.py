"""A platform to do harm to: real servers, each `zeitwork serve …` a process that a test can kill.

Nobody restarts what dies here, so that a test decides when it comes back, and armed with what.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from nats.js import JetStreamContext
from pydantic import SecretStr
from sqlalchemy import update

from cli.embedded.nats import NatsServer
from cli.embedded.server import EmbeddedServer
from consumers.builds.claims import LEASE
from db import outbox
from db.engine import Database
from db.models import Build, Environment, Lease
from db.session import UnitOfWork
from events import topology
from events.deployments import NewerCommit
from tests.failures import evidence
from tests.failures.history import History, complaints
from tests.failures.sender import Sender
from tests.support.agents import processes_of
from tests.support.api import API_TOKEN, NODE_TOKEN, WEBHOOK_SECRET
from tests.support.eventually import eventually
from tests.support.factories import add_site
from tests.support.pushes import Repository, request
from tests.support.servers import ServerHost, free_port
from zeitwork import clock
from zeitwork.failpoints import Failpoint

REPO = "acme/shop"
_START_SECONDS = 40.0
_REST_SECONDS = 100.0  # a build whose request died with its taker is asked for again after 70 s
_PORTS = 40
_HURRIED_SECONDS = 1.0


class ServeProcess:
    """`zeitwork serve …` as a child."""

    def __init__(self, argv: list[str], *, env: dict[str, str], log: Path, ops_port: int) -> None:
        self.argv = argv
        self.log = log
        self.began_at = clock.now()
        self._ready_url = f"http://127.0.0.1:{ops_port}/readyz"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", *argv],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=env,
            )

    async def until_ready(self) -> None:
        await eventually(self._is_ready, timeout=_START_SECONDS, interval=0.1)

    async def until_killed(self) -> None:
        """It has ended itself at its failpoint."""
        await eventually(lambda: self._process.poll() is not None, timeout=_START_SECONDS)
        assert self._process.returncode == -signal.SIGKILL, self.tail()

    async def until_stopped(self) -> None:
        """It has stopped itself at its failpoint, and can go on."""
        process = psutil.Process(self._process.pid)
        await eventually(lambda: process.status() == psutil.STATUS_STOPPED, timeout=_START_SECONDS)

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer does."""
        self._process.kill()
        self._process.wait(10)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def keeps_leases(self) -> bool:
        """Whether it may hold a build, and could extend its lease."""
        running = self.alive and psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED
        only = self.argv[self.argv.index("--only") + 1] if "--only" in self.argv else "builds"
        return running and self.argv[0] == "consumers" and "builds" in only.split(",")

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]

    async def until_said(self, event: str) -> None:
        """Its log has the event."""

        async def said() -> bool:
            return _none([] if self.said(event) else [f"it never said {event!r}"])

        await eventually(said, timeout=_START_SECONDS)

    def said(self, event: str) -> int:
        """How often its log has an event."""
        return self.log.read_text(errors="replace").count(f'"event": "{event}"')

    async def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"it ended:\n{self.tail()}"
        try:
            answer = await asyncio.to_thread(request, self._ready_url)
        except OSError as error:
            raise AssertionError(f"no answer: {error}") from error
        assert answer.status == 200, answer.body
        return True


@dataclass(frozen=True)
class Backends:
    """The servers that a platform stands on."""

    host: ServerHost
    nats: NatsServer
    database_url: str
    cache_url: str


class Platform:
    """Processes by name, the servers below them, one project, and who sends its webhooks."""

    def __init__(self, backends: Backends, directory: Path) -> None:
        self.host, self.nats = backends.host, backends.nats
        self.data = directory / "data"
        self.data.mkdir()
        self.processes: dict[str, ServeProcess] = {}
        self.database = Database(SecretStr(backends.database_url), application="judge", pool_size=2)
        self.work = UnitOfWork(self.database)
        self.repository = Repository(directory / "repository")
        self._launches = 0
        self._api_port = free_port()
        self.sender = Sender(
            f"http://127.0.0.1:{self._api_port}", secret=WEBHOOK_SECRET, repo=REPO,
            clone_url=self.repository.url,
        )  # fmt: skip
        lowest = free_port()
        self._env = {
            **_clean_environment(),
            "ZEITWORK_ENVIRONMENT": "test",
            "ZEITWORK_DATA_DIR": str(self.data),
            "ZEITWORK_LOG_FORMAT": "json",
            "ZEITWORK_LOG_LEVEL": "debug",
            "ZEITWORK_DATABASE_URL": backends.database_url,
            "ZEITWORK_NATS_URL": backends.nats.url.get_secret_value(),
            "ZEITWORK_CACHE_URL": backends.cache_url,
            "ZEITWORK_API_TOKEN": API_TOKEN,
            "ZEITWORK_NODE_TOKEN": NODE_TOKEN,
            "ZEITWORK_GITHUB_WEBHOOK_SECRET": WEBHOOK_SECRET,
            "ZEITWORK_DRAIN_SECONDS": "0.2",
            "ZEITWORK_API__PORT": str(self._api_port),
            "ZEITWORK_NODE__NAME": "one",
            "ZEITWORK_NODE__API_URL": f"http://127.0.0.1:{self._api_port}",
            "ZEITWORK_NODE__PORT_RANGE": f"[{lowest}, {lowest + _PORTS}]",
            "ZEITWORK_NODE__HEARTBEAT_SECONDS": "0.5",
        }

    @property
    def env(self) -> dict[str, str]:
        """For commands of the CLI against this platform."""
        return {
            **_clean_environment(),
            "ZEITWORK_API_URL": f"http://127.0.0.1:{self._api_port}",
            "ZEITWORK_API_TOKEN": API_TOKEN,
        }

    async def furnish(self, *, replicas: int = 1) -> None:
        """A project that follows the repository's main branch."""
        site = await add_site(
            self.work,
            "shop",
            github_repo=REPO,
            clone_url=self.repository.url,
            # Every push is to leave its traces, also when the next one comes at once.
            newer_commit=NewerCommit.ALL,
        )
        async with self.work.transaction() as tx:
            environment = await tx.session.get_one(Environment, site.environment.id)
            environment.replicas = replicas

    async def start(self, name: str, *argv: str, failpoint: str = "") -> ServeProcess:
        """Start the process `name` and wait until it is ready; see `launch`."""
        process = self.launch(name, *argv, failpoint=failpoint)
        await process.until_ready()
        return process

    def launch(
        self, name: str, *argv: str, failpoint: str = "", database_url: str | None = None
    ) -> ServeProcess:
        """Start `zeitwork serve NAME`, or `zeitwork serve ARGV` under that name.

        Args:
            database_url: another way to the database than that of the rest.
        """
        running = self.processes.get(name)
        assert running is None or not running.alive, f"{name} runs"
        self._launches += 1
        ops_port = free_port()
        service = argv[0] if argv else name
        env = {
            **self._env,
            f"ZEITWORK_{service.upper()}__OPS_PORT": str(ops_port),
            **({"ZEITWORK_FAILPOINT": failpoint} if failpoint else {}),
            **({"ZEITWORK_DATABASE_URL": database_url} if database_url else {}),
        }
        log = self.data.parent / f"{self._launches:02}-{name}.log"
        process = ServeProcess(list(argv or (name,)), env=env, log=log, ops_port=ops_port)
        self.processes[name] = process
        return process

    async def replace(self, name: str, *argv: str, failpoint: str = "") -> ServeProcess:
        """Kill it and start it anew."""
        self.processes[name].kill()
        return await self.start(name, *argv, failpoint=failpoint)

    async def start_all(self) -> None:
        """One of each service."""
        processes = [self.launch(name) for name in ("api", "consumers", "node")]
        await asyncio.gather(*(process.until_ready() for process in processes))

    async def die_at(self, name: str, point: Failpoint, happen: Callable[[], None]) -> None:
        """Arm `name`, let something happen, wait for its death, and bring it back unarmed."""
        self.processes[name].kill()
        process = self.launch(name, failpoint=str(point))
        happen()
        await process.until_killed()
        # Else the next one may meet the dead one's lease, and put the message off for a minute.
        await self._end_leases()
        await self.start(name)

    async def settle(self, *, within: float = _REST_SECONDS) -> History:
        """Drain, and check every invariant; the history."""
        await self.sender.finish()
        async with topology.jetstream(self.nats.url.get_secret_value()) as js:
            await self.hurry(js)
            await eventually(lambda: self._at_rest(js), timeout=within, interval=0.1)
            history = await evidence.collect(self.database, js, self.sender.pushes)
        _none(complaints(history))
        await eventually(self._nothing_left, timeout=_REST_SECONDS, interval=0.1)
        return history

    async def goes_live(self, text: str, *, within: float = _REST_SECONDS) -> None:
        """After whatever happened, the next push is served by every instance."""
        sha = self.repository.commit({"index.html": text})
        self.sender.push(sha)
        await self.settle(within=within)
        found = await evidence.served(self.database)
        _none([] if found == {(sha, text)} else [f"{text!r} is not live, but {found}"])

    async def hurry(self, js: JetStreamContext) -> None:
        """Let the time pass that a dead process's leases and messages still run for."""
        await self._end_leases()
        for durable in evidence.pulled(self.database):
            info = await js.consumer_info(durable.stream, durable.name)
            info.config.ack_wait = _HURRIED_SECONDS
            await js.add_consumer(durable.stream, info.config)

    async def kill_server(self, server: EmbeddedServer) -> None:
        """kill -9, and wait for its end."""
        server.kill()
        await asyncio.to_thread(self.host.run, server.wait())

    async def start_server(self, server: EmbeddedServer) -> None:
        await asyncio.to_thread(self.host.run, server.start())

    async def freeze_server(self, server: EmbeddedServer, *, seconds: float) -> None:
        """SIGSTOP, and after a while SIGCONT: connections stay open, and nobody answers."""
        assert server.pid is not None
        os.killpg(server.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)  # the fault itself, not a wait for its effect
        finally:
            os.killpg(server.pid, signal.SIGCONT)

    async def wipe_nats(self) -> None:
        """The broker loses its disk, and comes back with an empty one."""
        await self.kill_server(self.nats)
        shutil.rmtree(self.nats.directory / "store")
        await self.start_server(self.nats)

    async def restart_instances(self) -> None:
        """End them behind the node's back; it starts them anew elsewhere, and has told NATS so."""
        async with topology.jetstream(self.nats.url.get_secret_value()) as js:
            before = len(await evidence.addresses(js))
            for process in await asyncio.to_thread(processes_of, self.data / "node/one"):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

            async def told() -> bool:
                return len(await evidence.addresses(js)) > before

            await eventually(told, timeout=_REST_SECONDS, interval=0.1)

    async def has_its_topology(self) -> bool:
        """Streams and durables exist; the processes' guards make them anew."""
        async with topology.jetstream(self.nats.url.get_secret_value()) as js:
            absent = await topology.missing(js, durables=evidence.pulled(self.database))
        return _none([f"{one} is not there" for one in absent])

    async def waits_for_room(self) -> bool:
        """Every fact is out, and the jobs that ZW_JOBS has no room for wait."""
        async with self.database.read() as session:
            waiting = {name: each.depth for name, each in (await outbox.backlog(session)).items()}
        found = [f"{depth} events wait for {name}" for name, depth in waiting.items()
                 if name != "ZW_JOBS"]  # fmt: skip
        return _none(found if waiting.get("ZW_JOBS") else [*found, "no job waits for room"])

    async def close(self) -> None:
        for process in self.processes.values():
            process.kill()
        for left in await asyncio.to_thread(processes_of, self.data):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
        await self.database.stop()

    async def _end_leases(self) -> None:
        """End the leases of the dead; a builder that lives and loses its own would begin twice."""
        living = [each.began_at for each in self.processes.values() if each.keeps_leases]
        async with self.work.transaction() as tx:
            await tx.session.execute(
                update(Build)
                .where(Build.lease_until < min(living, default=clock.now()) + LEASE)
                .values(lease_until=clock.now())
            )
            # Those of the loops too: one of them asks again for builds that found no room.
            await tx.session.execute(update(Lease).values(expires_at=clock.now()))

    async def _at_rest(self, js: JetStreamContext) -> bool:
        return _none(await evidence.waiting(self.database, js))

    async def _nothing_left(self) -> bool:
        return _none(await evidence.leftovers(self.database, self.data))


@asynccontextmanager
async def platform_on(backends: Backends, directory: Path) -> AsyncIterator[Platform]:
    """A platform with its project; no process runs yet."""
    await topology.provision_url(backends.nats.url.get_secret_value())
    platform = Platform(backends, directory)
    try:
        await platform.furnish()
        yield platform
    finally:
        await platform.close()


def _none(found: Sequence[str]) -> bool:
    """True when there is nothing to complain about.

    Raises:
        AssertionError: the complaints.
    """
    if found:
        raise AssertionError("\n".join(found))
    return True


def _clean_environment() -> dict[str, str]:
    return {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("ZEITWORK_", "OTEL_"))
    }
