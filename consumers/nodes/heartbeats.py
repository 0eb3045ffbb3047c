"""Hears the nodes' heartbeats and notices when they stop."""

from __future__ import annotations

from pydantic import ValidationError
from typing_extensions import override

from consumers.nodes.liveness import SUSPECT_AFTER_SECONDS, Seen, verdicts
from db.models import Node
from db.queries.instances import instance_emit, instances_on_node
from db.queries.nodes import node_lock, nodes_all
from db.session import Transaction, UnitOfWork
from events import subjects
from events.bus import Bus
from events.instances import InstanceLost
from events.nodes import Heartbeat, NodeLost, NodeReady, NodeSuspect
from events.states import InstanceState, NodeState
from zeitwork import clock, logs
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_QUEUE = "consumers"


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
    """One round: silent nodes become suspect, then lost; a lost node's instances are lost."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        async with self._work.transaction() as tx:
            now = clock.now()
            nodes = {node.id: node for node in await nodes_all(tx.session)}
            seen = [
                Seen(node.id, node.state, (now - node.last_seen_at).total_seconds())
                for node in nodes.values()
            ]
            for node_id, state in verdicts(seen).items():
                node = await node_lock(tx.session, node_id)
                silent = (now - node.last_seen_at).total_seconds() if node is not None else 0.0
                if node is not None and silent > SUSPECT_AFTER_SECONDS:
                    await _move(tx, node, state)


async def _move(tx: Transaction, node: Node, state: NodeState) -> None:
    node.state = state
    _log.warning("node silent", node_id=node.id, state=str(state))
    if state is NodeState.SUSPECT:
        tx.emit(NodeSuspect(node_id=node.id), subject=node.id, version=node.version + 1)
        return
    tx.emit(NodeLost(node_id=node.id), subject=node.id, version=node.version + 1)
    for instance in await instances_on_node(tx.session, node.id):
        instance.state = InstanceState.LOST
        instance.stopped_at = clock.now()
        instance_emit(
            tx,
            instance,
            InstanceLost(
                instance_id=instance.id,
                deployment_id=instance.deployment_id,
                environment_id=instance.environment_id,
            ),
        )
