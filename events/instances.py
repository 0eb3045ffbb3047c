"""Instances: what a node is to run, what it reports, and what became of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from events.event import Event
from events.states import InstanceState


class LayerSpec(BaseModel):
    """An archive that is part of an artifact; `size` in bytes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    digest: str
    size: int


class InstanceKind(StrEnum):
    """What an instance is for."""

    WEB = "web"  # serves visitors until it is stopped
    RELEASE = "release"  # runs a command to its end, once, before its deployment serves


class InstanceSpec(BaseModel):
    """Everything a node needs to run one instance; travels over the API, never in an event.

    Attributes:
        generation: fencing number; a report for another generation is ignored.
        want: `running`, or `stopped` once `stop_after` has passed.
        artifact_layers: to unpack over one another; without any, the artifact is its own layer.
        path: directories of the artifact (relative to /app) to put before the system's PATH.
        command: run by `sh -c` in /app; that of a web instance must listen on $PORT.
        correlation_id: of the deployment; what the node says and logs of the instance carries it.
        traceparent: the deployment's trace, which the node's work on the instance belongs to.
        health_path: GET on it must answer 2xx or 3xx within `health_timeout_seconds` of the start;
            only of web instances.
        limit_seconds: how long a release command may run; None for what has no end.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    instance_id: str
    deployment_id: str
    project_id: str
    generation: int
    kind: InstanceKind = InstanceKind.WEB
    want: Literal["running", "stopped"]
    stop_after: datetime | None
    artifact_digest: str
    artifact_size: int
    artifact_layers: tuple[LayerSpec, ...] = ()
    command: str
    env: dict[str, str]
    path: tuple[str, ...] = ()
    health_path: str
    health_timeout_seconds: float
    limit_seconds: int | None = None
    correlation_id: str | None = None
    traceparent: str | None = None

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        """What the artifact is made of, the lowest first."""
        whole = LayerSpec(digest=self.artifact_digest, size=self.artifact_size)
        return self.artifact_layers or (whole,)


class InstanceVariables(BaseModel):
    """Names and values of an instance's environment; travel over the API, never in an event."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    values: dict[str, str] = Field(repr=False)


class DesiredState(BaseModel):
    """The whole set that a node is to run; whatever is not in it must stop.

    Attributes:
        heard: the sequence of the newest report that was taken, by instance; 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_id: str
    instances: list[InstanceSpec]
    heard: dict[str, int] = {}


class InstanceReported(Event, type="instance.reported"):
    """A node's word on one of its instances. Data, not authority: the control plane checks it.

    `sequence` grows with every report of a node, across restarts of its agent. A report comes from
    no transaction, so it is not in the event log: the node says it again until it was heard.
    """

    instance_id: str
    node_id: str
    generation: int
    sequence: int
    state: InstanceState
    host: str | None = None
    port: int | None = None
    code: str | None = None
    detail: str | None = None
    exit_code: int | None = None


class InstanceFact(Event):
    """What every instance event says."""

    instance_id: str
    deployment_id: str
    environment_id: str


class InstanceCreated(InstanceFact, type="instance.created"):
    """Wanted, not yet placed."""


class InstanceReady(InstanceFact, type="instance.ready"):
    """It answers its health check and may get traffic."""


class InstanceUnready(InstanceFact, type="instance.unready"):
    """It stopped answering and was restarted; it may get no traffic."""


class InstanceFailed(InstanceFact, type="instance.failed"):
    """It did not come up, or ended."""

    code: str
    detail: str


class InstanceDraining(InstanceFact, type="instance.draining"):
    """It gets no new traffic and will stop."""


class InstanceStopped(InstanceFact, type="instance.stopped"):
    """Its process is gone."""


class InstanceLost(InstanceFact, type="instance.lost"):
    """Its node is gone."""
