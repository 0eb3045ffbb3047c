"""Deploy hooks: addresses that others call to have a project deployed."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc
from db.models.base import Base, TenantOwned, Versioned
from zeitwork.ids import Prefix


class DeployHook(Versioned, TenantOwned, Base):
    """One address; its secret is known to whoever made it, and here only by its hash.

    Attributes:
        environment: the name of the one that it deploys.
        ref: the branch, tag or commit; None for the branch of the environment.
        secret_hash: SHA-256 in hex; the secret has 256 random bits, so nothing slower is needed.
        generation: grows with each rotation; signing keys of an earlier one are void.
    """

    __tablename__ = "deploy_hooks"

    id: Mapped[str] = mapped_column(Id(Prefix.HOOK), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[str] = mapped_column(String(200))
    environment: Mapped[str] = mapped_column(String(63))
    ref: Mapped[str | None] = mapped_column(String(1024))
    secret_hash: Mapped[str] = mapped_column(String(64))
    generation: Mapped[int] = mapped_column(Integer, default=1)
    created_at: Mapped[CreatedAt]
    rotated_at: Mapped[Utc | None]
    used_at: Mapped[Utc | None]
