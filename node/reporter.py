"""Tells the control plane about instances and that the node lives; over the bus only."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from typing_extensions import override

from events import subjects
from events.bus import Bus, Message
from events.envelope import Envelope, wrap
from events.instances import InstanceReported, InstanceSpec
from events.nodes import Heartbeat
from events.states import InstanceState
from zeitwork import clock, context, failpoints, logs
from zeitwork.errors import ZeitworkError
from zeitwork.failpoints import Failpoint
from zeitwork.service import Worker

_log = logs.get(__name__)
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to an instance."""

    state: InstanceState
    host: str | None = None
    port: int | None = None
    code: str | None = None
    detail: str | None = None
    exit_code: int | None = None


class Reporter(Worker):
    """Keeps the newest report of each instance until the control plane has heard it.

    `sequence` is the time in microseconds, and always more than the one before: it also grows
    across restarts of the agent.
    """

    name = "reporter"

    def __init__(self, bus: Bus) -> None:
        super().__init__()
        self.node_id = ""
        self._bus = bus
        self._unheard: dict[str, tuple[int, Envelope]] = {}  # with its sequence
        self._unsent: dict[str, Envelope] = {}
        self._news = asyncio.Event()
        self._sequence = 0

    def report(self, spec: InstanceSpec, report: Report) -> None:
        self._sequence = max(self._sequence + 1, int(clock.now().timestamp() * 1_000_000))
        said = InstanceReported(
            instance_id=spec.instance_id,
            node_id=self.node_id,
            generation=spec.generation,
            sequence=self._sequence,
            state=report.state,
            host=report.host,
            port=report.port,
            code=report.code,
            detail=report.detail,
            exit_code=report.exit_code,
        )
        with context.bind(actor=f"node:{self.node_id}"):
            envelope = wrap(
                said, subject=spec.instance_id, source="zeitwork/node", project_id=spec.project_id
            )
        self._unheard[spec.instance_id] = (said.sequence, envelope)
        self._unsent[spec.instance_id] = envelope
        _log.info(
            "instance reported",
            instance_id=spec.instance_id,
            state=str(report.state),
            code=report.code,
        )
        self._news.set()

    def repeat(self, *, heard: Mapping[str, int]) -> None:
        """Send again what was not heard; forget the rest.

        A broker can lose what it has confirmed. One that has not knows the id, and stores nothing.

        Args:
            heard: the newest sequence that the control plane took, of each instance it wants here.
        """
        self._unheard = {
            instance_id: (sequence, envelope)
            for instance_id, (sequence, envelope) in self._unheard.items()
            if heard.get(instance_id, sequence) < sequence
        }
        for instance_id, (_, envelope) in self._unheard.items():
            self._unsent[instance_id] = envelope
            self._news.set()

    @override
    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            await self._send()

    async def flush(self) -> None:
        """Try once more to send what is left."""
        if self._unsent:
            await self._send()

    async def _send(self) -> None:
        batch = [*self._unsent.items()]
        messages = [Message.of(envelope, subjects.of(envelope)) for _, envelope in batch]
        failpoints.reach(Failpoint.NODE_REPORTING)
        try:
            await self._bus.publish(messages)
        except ZeitworkError as error:
            _log.warning("reports not sent", code=error.code, reports=len(batch))
            await clock.sleep(clock.jitter(_RETRY_SECONDS))
            self._news.set()
            return
        for instance_id, envelope in batch:
            if self._unsent.get(instance_id) is envelope:
                del self._unsent[instance_id]


class Heartbeats(Worker):
    """Says every few seconds that the node lives."""

    name = "heartbeats"

    def __init__(
        self, bus: Bus, *, node_id: str, instances: Callable[[], int], seconds: float
    ) -> None:
        super().__init__()
        self._bus = bus
        self._node_id = node_id
        self._instances = instances
        self._seconds = seconds

    @override
    async def run(self) -> None:
        subject = subjects.heartbeat(self._node_id)
        while True:
            beat = Heartbeat(node_id=self._node_id, instances=self._instances())
            try:
                await self._bus.signal(subject, beat.model_dump_json().encode())
            except ZeitworkError as error:
                _log.warning("heartbeat not sent", code=error.code)
            await clock.sleep(clock.jitter(self._seconds))
