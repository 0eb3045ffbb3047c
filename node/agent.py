"""Makes this machine run what the control plane wants: on every event, at start, every 10 s."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable

from typing_extensions import override

from events import subjects
from events.bus import Bus, Stored
from events.instances import InstanceKind, InstanceSpec
from events.nodes import NodeDesiredChanged
from events.streams import EVENTS
from node.control_plane import ControlPlane
from node.instance import Instance, Workshop
from node.journal import Entry
from node.reconcile import plan
from node.release import Release
from node.reporter import Heartbeats
from zeitwork import clock, context, logs, tracing
from zeitwork.config import NodeSettings
from zeitwork.errors import NotFound, ZeitworkError
from zeitwork.service import Worker, cancel, spawn

_log = logs.get(__name__)
_LOOK_SECONDS = 10.0
_RETRY_SECONDS = 1.0


class Agent(Worker):
    """Level-triggered: each look compares the whole desired set with what runs.

    While the control plane is away, what runs keeps running.
    """

    name = "agent"

    def __init__(
        self, settings: NodeSettings, *, bus: Bus, control_plane: ControlPlane, workshop: Workshop
    ) -> None:
        super().__init__()
        self._settings = settings
        self._bus = bus
        self._control_plane = control_plane
        self._shop = workshop
        self._instances: dict[str, Instance] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._awaited: set[str] = set()
        self._beats: Heartbeats | None = None
        self._look = asyncio.Event()
        self._cause: Stored | None = None
        self._looked = False

    @override
    async def ready(self) -> str | None:
        return await super().ready() or (None if self._looked else "not registered yet")

    @override
    async def run(self) -> None:
        while True:
            node_id = await self._register()
            following = spawn(self._follow(node_id), "agent-follow")
            try:
                await self._keep_looking(node_id)
            finally:
                await cancel(following)
            await clock.sleep(clock.jitter(_RETRY_SECONDS))

    @override
    async def stop(self) -> None:
        await super().stop()
        if self._beats is not None:
            await self._beats.stop()
        ends: list[Awaitable[None]] = [*self._stopping.values()]
        keep = self._settings.keep_instances
        ends.extend(
            instance.leave() if keep else instance.halt() for instance in self._instances.values()
        )
        for error in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(error, Exception):
                _log.error("instance not ended", exc_info=error)
        self._instances.clear()
        await self._shop.reporter.flush()

    async def _keep_looking(self, node_id: str) -> None:
        """Return when the control plane does not know this identity."""
        while True:
            self._look.clear()
            due = await self._try_look(node_id)
            if due is None:
                return
            await self._wait(due)

    async def _register(self) -> str:
        """Join, however long it takes; the same name is the same node."""
        while True:
            try:
                identity = await self._control_plane.register(self._shop.runtime.name)
            except ZeitworkError as error:
                _log.warning("node not registered", code=error.code, detail=error.message)
                await clock.sleep(clock.jitter(_RETRY_SECONDS))
                continue
            _log.info("node registered", node_id=identity.id, mode=self._shop.runtime.mode)
            await self._begin(identity.id)
            return identity.id

    async def _begin(self, node_id: str) -> None:
        self._shop.reporter.node_id = node_id
        if self._beats is not None:
            await self._beats.stop()
        self._beats = Heartbeats(
            self._bus,
            node_id=node_id,
            instances=lambda: len(self._instances),
            seconds=self._settings.heartbeat_seconds,
        )
        await self._beats.start()

    async def _follow(self, node_id: str) -> None:
        """Look whenever the control plane says so; without a broker the timer goes on."""
        subject = subjects.facts(NodeDesiredChanged, subject=node_id)
        while True:
            try:
                async with self._bus.follow(EVENTS.name, subject) as changes:
                    self._look.set()
                    async for change in changes:
                        self._cause = change
                        self._look.set()
            except ZeitworkError as error:
                _log.warning("node events not available", code=error.code)
            await clock.sleep(clock.jitter(_RETRY_SECONDS))

    async def _try_look(self, node_id: str) -> float | None:
        """Seconds until the next look; None when this identity is unknown."""
        cause, self._cause = self._cause, None
        headers = dict(cause.headers) if cause is not None else {}
        found = {name.lower(): value for name, value in headers.items()}
        try:
            with (
                tracing.continued(headers, "reconcile node"),
                context.bind(
                    correlation_id=found.get("ce-correlationid"),
                    causation_id=found.get("ce-id"),
                ),
            ):
                return await self._reconcile(node_id)
        except NotFound:
            _log.warning("the control plane does not know this node, registering again")
            return None
        except ZeitworkError as error:
            _log.warning("desired state not fetched", code=error.code, detail=error.message)
            return _RETRY_SECONDS

    async def _reconcile(self, node_id: str) -> float:
        desired = await self._control_plane.desired(node_id)
        self._shop.reporter.repeat(heard=desired.heard)
        if not self._looked:
            await self._take_up(desired.instances)
        running = {id_: each.spec.generation for id_, each in self._instances.items()}
        todo = plan(desired.instances, running, now=clock.now())
        for instance_id in todo.stop:
            self._stop_instance(instance_id)
        for spec in todo.start:
            self._start_instance(spec)
        for spec in todo.gone:
            self._end_again(spec)
        self._looked = True
        specs = [*(each.spec for each in self._instances.values()), *desired.instances]
        in_use = {spec.artifact_digest for spec in specs}
        in_use |= {layer.digest for spec in specs for layer in spec.layers}
        await self._shop.artifacts.prune(in_use)
        return min(_LOOK_SECONDS, todo.look_again_seconds or _LOOK_SECONDS)

    async def _take_up(self, desired: list[InstanceSpec]) -> None:
        """Adopt what an earlier agent left; this look stops what of it is not wanted.

        A release command that has ended is taken up as well, to say again how.
        """
        wanted = {(spec.instance_id, spec.generation): spec.want for spec in desired}
        for entry in self._shop.journal.all():
            want = wanted.get((entry.spec.instance_id, entry.spec.generation))
            if want is None or entry.handle is not None or entry.exit_code is not None:
                self._adopt(entry, run=want == "running")
        await self._sweep()

    async def _sweep(self) -> None:
        """End and remove what an earlier agent started but had no time to note."""
        runs = self._shop.runs
        for run in sorted(runs.iterdir()) if runs.is_dir() else []:
            if run.name not in self._instances:
                await self._shop.runtime.purge(run)
                await asyncio.to_thread(shutil.rmtree, run, ignore_errors=True)

    def _adopt(self, entry: Entry, *, run: bool) -> None:
        kind = Release if entry.spec.kind is InstanceKind.RELEASE else Instance
        instance = kind(entry, self._shop)
        self._instances[entry.spec.instance_id] = instance
        if run:
            instance.start()

    def _start_instance(self, spec: InstanceSpec) -> None:
        if spec.instance_id in self._stopping:
            self._awaited.add(spec.instance_id)
            return
        known = self._shop.journal.find(spec.instance_id)
        same = known is not None and known.spec.generation == spec.generation
        ever_ready = known.ever_ready if known is not None and same else False
        self._adopt(Entry(spec=spec, ever_ready=ever_ready), run=True)

    def _stop_instance(self, instance_id: str) -> None:
        instance = self._instances.pop(instance_id)
        task = spawn(instance.stop(), f"stop-{instance_id}")
        self._stopping[instance_id] = task
        task.add_done_callback(lambda done: self._stopped(instance, done))

    def _end_again(self, spec: InstanceSpec) -> None:
        """Say once more that it has ended: the report may have been lost with an earlier agent."""
        if spec.instance_id not in self._stopping:
            self._adopt(Entry(spec=spec), run=False)
            self._stop_instance(spec.instance_id)

    def _stopped(self, instance: Instance, task: asyncio.Task[None]) -> None:
        instance_id = instance.spec.instance_id
        self._stopping.pop(instance_id, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("instance not stopped", instance_id=instance_id, exc_info=task.exception())
            self._instances[instance_id] = instance  # the next look tries again
        elif instance_id in self._awaited:
            self._awaited.discard(instance_id)
            self._look.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return
