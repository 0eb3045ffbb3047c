"""Nodes: joining, heartbeats, and changes of what they are to run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from events.event import Event


class Heartbeat(BaseModel):
    """Sent every few seconds on core NATS (`subjects.heartbeat`); never stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_id: str
    instances: int


class NodeJoined(Event, type="node.joined"):
    """A machine registered."""

    node_id: str
    name: str


class NodeReady(Event, type="node.ready"):
    """A node can take instances (again)."""

    node_id: str


class NodeSuspect(Event, type="node.suspect"):
    """Heartbeats stopped; nothing new is placed there."""

    node_id: str


class NodeLost(Event, type="node.lost"):
    """The node is taken for gone; its instances are placed elsewhere."""

    node_id: str


class NodeDesiredChanged(Event, type="node.desired_changed"):
    """The set that a node is to run changed; the node fetches it."""

    node_id: str
