"""routing_cache: what the proxies serve, one row a host."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import Id, Utc
from db.models.base import Base, TenantOwned
from zeitwork.ids import Prefix


class RoutingCache(TenantOwned, Base):
    """A projection: it can be recomputed from environments, deployments and instances.

    `targets` is a list of `events.routes.Target`; `version` grows with every change of the row.
    """

    __tablename__ = "routing_cache"

    host: Mapped[str] = mapped_column(String(253), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE")
    )
    environment_id: Mapped[str] = mapped_column(
        Id(Prefix.ENVIRONMENT), ForeignKey("environments.id", ondelete="CASCADE"), index=True
    )
    deployment_id: Mapped[str | None] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="SET NULL")
    )
    targets: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    version: Mapped[int] = mapped_column(BigInteger)
    updated_at: Mapped[Utc]
