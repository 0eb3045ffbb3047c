"""Nodes: machines that run instances. They belong to the platform, not to a tenant."""

from __future__ import annotations

from sqlalchemy import Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc, state
from db.models.base import Base, Versioned
from events.states import NodeState
from zeitwork.ids import Prefix


class Node(Versioned, Base):
    """A machine with an agent; capacity in thousandths of a core and MiB."""

    __tablename__ = "nodes"

    id: Mapped[str] = mapped_column(Id(Prefix.NODE), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), unique=True)
    address: Mapped[str] = mapped_column(String(253))
    runtime: Mapped[str] = mapped_column(String(32))
    architecture: Mapped[str] = mapped_column(String(32))
    cpu_millis: Mapped[int] = mapped_column(Integer)
    memory_mib: Mapped[int] = mapped_column(Integer)
    state: Mapped[NodeState] = state(NodeState, "state")
    last_seen_at: Mapped[Utc]
    created_at: Mapped[CreatedAt]
