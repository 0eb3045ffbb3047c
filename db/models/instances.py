"""Instances: running copies of a deployment, wanted and reported."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.instances import InstanceKind
from events.states import InstanceState
from zeitwork.ids import Prefix


class Instance(Versioned, TenantOwned, Base):
    """One copy of a deployment on one node, or the one run of its release command.

    Attributes:
        slot: which of the deployment's replicas it is, from 0.
        command: of a release, as it was decided; a web instance's is in the artifact's manifest.
        limit_seconds: how long a release command may run.
        generation: fencing number; grows when the instance is placed anew.
        report_sequence: the last report taken; older ones change nothing.
        stop_after: from then on its node stops it (set when it drains).
    """

    __tablename__ = "instances"
    __table_args__ = (
        Index("ix_instances_node", "node_id", postgresql_where="stopped_at IS NULL"),
        Index("ix_instances_open", "deadline_at", postgresql_where="deadline_at IS NOT NULL"),
        Index(
            "ix_instances_release",
            "deployment_id",
            unique=True,
            postgresql_where="kind = 'release'",
        ),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.INSTANCE), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE")
    )
    environment_id: Mapped[str] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    deployment_id: Mapped[str] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="CASCADE"), index=True
    )
    node_id: Mapped[str | None] = mapped_column(Id(Prefix.NODE), ForeignKey("nodes.id"))
    kind: Mapped[InstanceKind] = state(
        InstanceKind, "kind", default=InstanceKind.WEB, server_default=InstanceKind.WEB
    )
    slot: Mapped[int] = mapped_column(Integer)
    command: Mapped[str | None] = mapped_column(Text)
    limit_seconds: Mapped[int | None] = mapped_column(Integer)
    state: Mapped[InstanceState] = state(InstanceState, "state")
    generation: Mapped[int] = mapped_column(Integer, default=1)
    report_sequence: Mapped[int] = mapped_column(BigInteger, default=0)
    host: Mapped[str | None] = mapped_column(String(253))
    port: Mapped[int | None] = mapped_column(Integer)
    exit_code: Mapped[int | None] = mapped_column(Integer)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_detail: Mapped[str | None] = mapped_column(Prose)
    created_at: Mapped[CreatedAt]
    deadline_at: Mapped[Utc | None]
    stop_after: Mapped[Utc | None]
    ready_at: Mapped[Utc | None]
    stopped_at: Mapped[Utc | None]
