"""Hears the nodes' heartbeats and notices when they stop."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import ValidationError
from typing_extensions import override

from consumers.nodes.liveness import SUSPECT_AFTER_SECONDS, Seen, verdicts
from db.models import Deployment, Node
from db.queries.instances import instance_emit, instances_stranded
from db.queries.nodes import node_lock, nodes_all
from db.session import Transaction, UnitOfWork
from events import subjects
from events.bus import Bus
from events.instances import InstanceLost
from events.nodes import Heartbeat, NodeLost, NodeReady, NodeSuspect
from events.states import InstanceState, NodeState
from zeitwork import clock, context, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_QUEUE = "consumers"
_LONGEST_GAP = timedelta(seconds=SUSPECT_AFTER_SECONDS)


class HeartbeatListener(Worker):
    """Notes each heartbeat in the node's row; replicas share them by a queue group."""

    name = "heartbeats"

    def __init__(self, bus: Bus, work: UnitOfWork) -> None:
        super().__init__()
        self._bus = bus
        self._work = work

    @override
    async def run(self) -> None:
        async with self._bus.listen(subjects.HEARTBEATS, queue=_QUEUE) as messages:
            async for message in messages:
                try:
                    beat = Heartbeat.model_validate_json(message.data)
                    await self._note(beat)
                except ValidationError:
                    _log.warning("heartbeat not understood", subject=message.subject)
                except ZeitworkError as error:
                    _log.warning("heartbeat not noted", code=error.code, detail=error.message)

    async def _note(self, beat: Heartbeat) -> None:
        async with self._work.transaction() as tx:
            node = await node_lock(tx.session, beat.node_id)
            if node is None or node.state is NodeState.GONE:
                return
            node.last_seen_at = clock.now()
            if node.state in {NodeState.JOINING, NodeState.SUSPECT, NodeState.LOST}:
                node.state = NodeState.READY
                tx.emit(NodeReady(node_id=node.id), subject=node.id, version=node.version + 1)
                _log.info("node ready", node_id=node.id)


class NodeReconciler:
    """One round: silent nodes become suspect, then lost; a lost node's instances are lost.

    Silence counts only while this process could have heard something: not before its first round,
    nor while the broker was away, nor over a gap between rounds (the database was away, or another
    replica had the lease).
    """

    def __init__(self, bus: Bus, work: UnitOfWork) -> None:
        self._bus = bus
        self._work = work
        self._attentive_since: datetime | None = None
        self._looked_at: datetime | None = None

    async def round(self) -> None:
        if await self._bus.ready() is not None:
            self._looked_at = None
            return
        now = clock.now()
        since = self._attentive(now)
        async with self._work.transaction() as tx:
            seen = [
                Seen(node.id, node.state, _silent_seconds(node, since, now))
                for node in await nodes_all(tx.session)
            ]
            for node_id, state in verdicts(seen).items():
                node = await node_lock(tx.session, node_id)
                if node is not None and _silent_seconds(node, since, now) > SUSPECT_AFTER_SECONDS:
                    _move(tx, node, state)
            await _evict(tx)

    def _attentive(self, now: datetime) -> datetime:
        """Since when every heartbeat would have been heard."""
        if (
            self._attentive_since is None
            or self._looked_at is None
            or now - self._looked_at > _LONGEST_GAP
        ):
            self._attentive_since = now
        self._looked_at = now
        return self._attentive_since


def _silent_seconds(node: Node, since: datetime, now: datetime) -> float:
    return (now - max(node.last_seen_at, since)).total_seconds()


def _move(tx: Transaction, node: Node, state: NodeState) -> None:
    node.state = state
    _log.warning("node silent", node_id=node.id, state=str(state))
    fact = NodeSuspect if state is NodeState.SUSPECT else NodeLost
    tx.emit(fact(node_id=node.id), subject=node.id, version=node.version + 1)


async def _evict(tx: Transaction) -> None:
    """Give up what runs on lost nodes, also what was placed there while they were being lost."""
    for instance in await instances_stranded(tx.session):
        instance.state = InstanceState.LOST
        instance.stopped_at = clock.now()
        deployment = await tx.session.get_one(Deployment, instance.deployment_id)
        # What follows belongs to the deployment's timeline, replacement and routes included.
        with context.bind(correlation_id=deployment.correlation_id):
            instance_emit(
                tx,
                instance,
                InstanceLost(
                    instance_id=instance.id,
                    deployment_id=instance.deployment_id,
                    environment_id=instance.environment_id,
                ),
            )
