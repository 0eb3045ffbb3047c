"""Makes this machine run what the control plane wants: on every event, at start, every 10 s."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from typing_extensions import override

from events import subjects
from events.bus import Bus, Stored
from events.instances import InstanceSpec
from events.nodes import NodeDesiredChanged
from events.streams import EVENTS
from node.control_plane import ControlPlane
from node.instance import Instance, Workshop
from node.journal import Entry
from node.reconcile import plan
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
        self._beats: Heartbeats | None = None
        self._look = asyncio.Event()
        self._cause: Stored | None = None
        self._looked = False

    @override
    async def ready(self) -> str | None:
        return await super().ready() or (None if self._looked else "not registered yet")

    @override
    async def run(self) -> None:
        node_id = await self._register()
        following = spawn(self._follow(node_id), "agent-follow")
        try:
            while True:
                self._look.clear()
                due = await self._try_look(node_id)
                if due is None:
                    node_id = await self._register()
                    continue
                await self._wait(due)
        finally:
            await cancel(following)

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
        await asyncio.gather(*ends)
        self._instances.clear()
        await self._shop.reporter.flush()

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
        if not self._looked:
            self._end_unwanted(desired.instances)
        running = {id_: each.spec.generation for id_, each in self._instances.items()}
        todo = plan(desired.instances, running, now=clock.now())
        for instance_id in todo.stop:
            self._stop_instance(instance_id)
        for spec in todo.start:
            if spec.instance_id not in self._stopping:
                self._start_instance(spec)
        self._looked = True
        in_use = {each.spec.artifact_digest for each in self._instances.values()}
        in_use |= {spec.artifact_digest for spec in desired.instances}
        await self._shop.artifacts.prune(in_use)
        return min(_LOOK_SECONDS, todo.look_again_seconds or _LOOK_SECONDS)

    def _end_unwanted(self, desired: list[InstanceSpec]) -> None:
        """Take up what an earlier agent left, so that this look stops what is not wanted."""
        wanted = {(spec.instance_id, spec.generation) for spec in desired}
        for entry in self._shop.journal.all():
            key = (entry.spec.instance_id, entry.spec.generation)
            if key not in wanted or entry.handle is not None:
                self._adopt(entry, run=key in wanted)

    def _adopt(self, entry: Entry, *, run: bool) -> None:
        instance = Instance(entry, self._shop)
        self._instances[entry.spec.instance_id] = instance
        if run:
            instance.start()

    def _start_instance(self, spec: InstanceSpec) -> None:
        known = self._shop.journal.find(spec.instance_id)
        same = known is not None and known.spec.generation == spec.generation
        entry = Entry(
            spec=spec,
            ever_ready=known.ever_ready if known is not None and same else False,
            correlation_id=context.current().correlation_id
            or (known.correlation_id if known is not None else None),
        )
        self._adopt(entry, run=True)

    def _stop_instance(self, instance_id: str) -> None:
        instance = self._instances.pop(instance_id)
        task = spawn(instance.stop(), f"stop-{instance_id}")
        self._stopping[instance_id] = task
        task.add_done_callback(lambda done: self._stopped(instance_id, done))

    def _stopped(self, instance_id: str, task: asyncio.Task[None]) -> None:
        self._stopping.pop(instance_id, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("instance not stopped", instance_id=instance_id, exc_info=task.exception())
        self._look.set()

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return
