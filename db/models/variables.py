"""Variables: sealed values, and which of them a deployment was created with."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc, state
from db.models.base import Base, TenantOwned
from events.variables import VariablePhase, VariableScope
from zeitwork.ids import Prefix


class Variable(TenantOwned, Base):
    """One value of one name. A row's value never changes: another value is another row.

    Attributes:
        environment_id: only for the scope of an environment.
        sealed: see `zeitwork.sealing`; bound to this row's id, project, place and name.
        size: of the value, in bytes.
        replaced_at: since when it no longer counts for new deployments.
    """

    __tablename__ = "variables"
    __table_args__ = (
        Index(
            "ix_variables_current",
            "project_id",
            "scope",
            "environment_id",
            "name",
            unique=True,
            postgresql_where="replaced_at IS NULL",
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.VARIABLE), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    environment_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    scope: Mapped[VariableScope] = state(VariableScope, "scope")
    phase: Mapped[VariablePhase] = state(VariablePhase, "phase")
    name: Mapped[str] = mapped_column(String(128))
    key_id: Mapped[str] = mapped_column(String(16), index=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    size: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[CreatedAt]
    created_by: Mapped[str] = mapped_column(String(200))
    replaced_at: Mapped[Utc | None]


class DeploymentVariable(TenantOwned, Base):
    """A deployment has the value that counted when it was created, until its end."""

    __tablename__ = "deployment_variables"

    deployment_id: Mapped[str] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True
    )
    variable_id: Mapped[str] = mapped_column(
        Id(Prefix.VARIABLE), ForeignKey("variables.id"), primary_key=True, index=True
    )
