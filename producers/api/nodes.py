"""Nodes: agents register and fetch what they are to run; people list them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from aiohttp import web
from pydantic import BaseModel, Field, StringConstraints

from db.models import Node
from db.queries.instances import LIVE_STATES, Assignment, assignments_of_node, instance_find
from db.queries.nodes import NodeFacts, node_find, node_register, nodes_all
from db.queries.variables import variables_pinned
from events.instances import DesiredState, InstanceSpec, InstanceVariables, LayerSpec
from events.nodes import NodeJoined, NodeReady
from events.states import InstanceState, NodeState
from events.variables import VariablePhase
from producers.api.call import Call
from producers.api.pages import Page
from zeitwork.config import Settings
from zeitwork.errors import NotFound
from zeitwork.fields import Body, Slug

# An agent registers when it can run instances.
_CAN_RETURN = frozenset({NodeState.JOINING, NodeState.SUSPECT, NodeState.LOST})
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
_Address = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]


class NodeRegistration(Body):
    """What an agent says; `id` is the identity it has kept from before, if any."""

    id: str | None = None
    name: Slug
    address: _Address
    runtime: _Word
    architecture: _Word
    cpu_millis: Annotated[int, Field(ge=1)]
    memory_mib: Annotated[int, Field(ge=1)]


class NodeView(BaseModel):
    """What a caller sees."""

    id: str
    name: str
    address: str
    runtime: str
    architecture: str
    cpu_millis: int
    memory_mib: int
    state: str
    last_seen_at: datetime


async def register(call: Call) -> web.Response:
    """`POST /nodes`: idempotent by name."""
    body = await call.body(NodeRegistration)
    said = NodeFacts(**body.model_dump(exclude={"id"}))
    async with call.work.transaction() as tx:
        node, created = await node_register(tx.session, said)
        if created:
            tx.emit(NodeJoined(node_id=node.id, name=node.name), subject=node.id)
        if node.state in _CAN_RETURN:
            node.state = NodeState.READY
            tx.emit(NodeReady(node_id=node.id), subject=node.id)
    return call.reply(201 if created else 200, view(node))


async def index(call: Call) -> web.Response:
    """`GET /nodes`."""
    async with call.database.read() as session:
        found = await nodes_all(session)
    return call.reply(200, Page(items=[view(each) for each in found], next=None))


async def desired(call: Call) -> web.Response:
    """`GET /nodes/{node}/desired`: everything that the node is to run, whole."""
    wanted = call.path("node")
    async with call.database.read() as session:
        if await node_find(session, wanted) is None:
            raise NotFound(f"There is no node {wanted!r}: register again.")
        assignments = await assignments_of_node(session, wanted)
    specs = [_spec(assignment, call.settings) for assignment in assignments]
    heard = {each.instance.id: each.instance.report_sequence for each in assignments}
    return call.reply(200, DesiredState(node_id=wanted, instances=specs, heard=heard))


async def variables(call: Call) -> web.Response:
    """`GET /nodes/{node}/instances/{instance}/variables`: for the node that is to run it."""
    async with call.database.read() as session:
        instance = await instance_find(session, call.path("instance"))
        if (
            instance is None
            or instance.node_id != call.path("node")
            or instance.state not in LIVE_STATES
        ):
            raise NotFound("There is no such instance on this node.")
        values = await variables_pinned(
            session, instance.deployment_id, phase=VariablePhase.RUN, keys=call.keys
        )
    return call.reply_privately(200, InstanceVariables(values=values))


def _spec(assignment: Assignment, settings: Settings) -> InstanceSpec:
    instance, manifest = assignment.instance, assignment.artifact.manifest
    declared = manifest.get("declared", {})
    return InstanceSpec(
        instance_id=instance.id,
        deployment_id=instance.deployment_id,
        project_id=instance.project_id,
        generation=instance.generation,
        kind=instance.kind,
        want="stopped" if instance.state is InstanceState.DRAINING else "running",
        stop_after=instance.stop_after,
        artifact_digest=assignment.artifact.digest,
        artifact_size=assignment.artifact.size,
        artifact_layers=tuple(
            LayerSpec(digest=each.digest, size=each.size) for each in assignment.layers
        ),
        command=instance.command or manifest["processes"]["web"],
        env=manifest.get("env", {}),
        path=tuple(manifest.get("path", ())),
        health_path=declared.get("health_path") or assignment.project.health_path,
        health_timeout_seconds=settings.health_timeout_seconds,
        limit_seconds=instance.limit_seconds,
        correlation_id=assignment.deployment.correlation_id,
        traceparent=assignment.deployment.traceparent,
    )


def view(node: Node) -> NodeView:
    return NodeView(
        id=node.id,
        name=node.name,
        address=node.address,
        runtime=node.runtime,
        architecture=node.architecture,
        cpu_millis=node.cpu_millis,
        memory_mib=node.memory_mib,
        state=str(node.state),
        last_seen_at=node.last_seen_at,
    )
