"""Nodes: registration, heartbeats, and who can take instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Instance, Node
from db.queries.instances import LIVE_STATES
from events.states import NodeState
from zeitwork import clock, ids


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What an agent says about its machine."""

    name: str
    address: str
    runtime: str
    architecture: str
    cpu_millis: int
    memory_mib: int


async def node_register(session: AsyncSession, said: NodeFacts) -> tuple[Node, bool]:
    """Create or refresh the node of that name; the node, and whether it is new.

    A concurrent registration of the same new name makes one of the two fail with Conflict.
    """
    node = (
        await session.execute(select(Node).where(Node.name == said.name).with_for_update())
    ).scalar_one_or_none()
    if node is None:
        node = Node(id=ids.new(ids.Prefix.NODE), name=said.name, state=NodeState.JOINING)
        session.add(node)
        created = True
    else:
        created = False
    node.address = said.address
    node.runtime = said.runtime
    node.architecture = said.architecture
    node.cpu_millis = said.cpu_millis
    node.memory_mib = said.memory_mib
    node.last_seen_at = clock.now()
    return node, created


async def node_find(session: AsyncSession, node_id: str) -> Node | None:
    return await session.get(Node, node_id)


async def node_lock(session: AsyncSession, node_id: str) -> Node | None:
    query = (
        select(Node)
        .where(Node.id == node_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def nodes_all(session: AsyncSession) -> Sequence[Node]:
    return (await session.execute(select(Node).order_by(Node.name))).scalars().all()


async def nodes_with_load(session: AsyncSession) -> Sequence[tuple[Node, int]]:
    """Every node that has not gone, with the number of its live instances."""
    load = (
        select(Instance.node_id, func.count().label("live"))
        .where(Instance.state.in_(LIVE_STATES))
        .group_by(Instance.node_id)
        .subquery()
    )
    query = (
        select(Node, func.coalesce(load.c.live, 0))
        .outerjoin(load, load.c.node_id == Node.id)
        .where(Node.state != NodeState.GONE)
        .order_by(Node.id)
    )
    return [(node, live) for node, live in (await session.execute(query)).all()]
