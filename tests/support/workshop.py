"""A node without network: what instances share, with programs in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from typing_extensions import override

from events.envelope import unwrap
from events.instances import InstanceReported, LayerSpec
from events.memory import MemoryBus
from events.states import InstanceState
from events.streams import EVENTS
from node.artifacts import Artifacts
from node.checks import HealthChecks
from node.control_plane import ControlPlane
from node.instance import Instance, Workshop
from node.journal import Entry, Journal
from node.logs import LogShipper
from node.ports import Ports
from node.release import Release
from node.reporter import Reporter
from node.runtimes.memory import MemoryRuntime, Running
from tests.contracts.runtime import instance_spec
from tests.support.eventually import eventually
from zeitwork import clock
from zeitwork.clock import FakeClock
from zeitwork.config import NodeSettings
from zeitwork.errors import ZeitworkError

SECRET = "correct horse battery staple"


class World(Artifacts, HealthChecks):
    """A node without network: programs, artifacts that are there or not, health as told."""

    def __init__(self, directory: Path) -> None:
        Artifacts.__init__(self, directory, ControlPlane(NodeSettings(), token=""))
        self.directory = directory
        self.healthy = True
        self.outages: list[ZeitworkError] = []
        self.fetches = 0
        self.asked_for_variables = 0
        self.starts: list[Running] = []
        self.crash = asyncio.Event()
        self.done = asyncio.Event()
        self.bus = MemoryBus()
        self.reporter = Reporter(self.bus)
        self.reporter.node_id = "nod_1"
        self.runtime = MemoryRuntime(
            {
                "serve": self._serve,
                "exit": self._exit,
                "tell": self._tell,
                "migrate": self._migrate,
            }
        )
        self.journal = Journal(directory / "journal")
        self.workshop = Workshop(
            runtime=self.runtime,
            artifacts=self,
            journal=self.journal,
            ports=Ports(12_000, 18_000, memory=directory / "last-port"),
            checks=self,
            reporter=self.reporter,
            variables=self._variables,
            shipper=LogShipper(self.bus),
            runs=directory / "runs",
            address="10.0.0.1",
        )

    def instance(self, entry: Entry | None = None, **changes: object) -> Instance:
        instance = Instance(entry or Entry(spec=instance_spec(**changes)), self.workshop)
        instance.start()
        return instance

    def release(self, entry: Entry | None = None, **changes: object) -> Release:
        spec = instance_spec(kind="release", **{"command": "migrate", **changes})
        release = Release(entry or Entry(spec=spec), self.workshop)
        release.start()
        return release

    def reports(self) -> list[InstanceReported]:
        found = [unwrap(each.headers, each.data).data for each in self.bus.stored(EVENTS.name)]
        return [each for each in found if isinstance(each, InstanceReported)]

    async def states(self, *expected: InstanceState) -> None:
        await eventually(lambda: [each.state for each in self.reports()] == list(expected))

    @override
    async def fetch(self, digest: str, layers: Sequence[LayerSpec]) -> Path:
        self.fetches += 1
        if self.outages:
            raise self.outages.pop(0)
        return self.directory

    @override
    async def good(self, port: int, path: str) -> bool:
        await clock.sleep(0.1)
        return self.healthy

    async def _variables(self, instance_id: str) -> dict[str, str]:
        self.asked_for_variables += 1
        return {"TOKEN": SECRET, "HOST": "own"}

    async def _tell(self, running: Running) -> int:
        running.print(f"token is {running.env['TOKEN']}")
        return 1

    async def _serve(self, running: Running) -> int:
        self.starts.append(running)
        running.print(f"start {len(self.starts)}")
        ended = {
            asyncio.ensure_future(self.crash.wait()),
            asyncio.ensure_future(running.terminated.wait()),
        }
        try:
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ended:
                each.cancel()
        code = 9 if self.crash.is_set() else 0
        self.crash.clear()
        return code

    async def _migrate(self, running: Running) -> int:
        """Ends well when it is told to, and pretends to when it is terminated."""
        self.starts.append(running)
        running.print("migrating")
        ends = [asyncio.ensure_future(each.wait()) for each in (self.done, running.terminated)]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for each in ends:
            each.cancel()
        return 0

    async def _exit(self, running: Running) -> int:
        running.print("going down")
        return 3


@asynccontextmanager
async def worlds(directory: Path) -> AsyncIterator[World]:
    """A world whose clock is told, with its reports on the way."""
    with clock.using(FakeClock(datetime(2026, 1, 1, tzinfo=UTC))):
        world = World(directory)
        await world.reporter.start()
        yield world
        await world.reporter.stop()
