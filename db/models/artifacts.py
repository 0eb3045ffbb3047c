"""Built applications, the layers that they are made of, and the blobs that hold those."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Utc
from db.models.base import Base, TenantOwned
from zeitwork.ids import Prefix


class Artifact(TenantOwned, Base):
    """A built application; equal content of a project is one artifact.

    Attributes:
        digest: of its content; that of its layer where it has one, else of the list of them.
        size: bytes of all its layers, packed.
        deleted_at: when its blobs were given up; the row stays while a deployment refers to it.
    """

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("project_id", "digest"),)

    id: Mapped[str] = mapped_column(Id(Prefix.ARTIFACT), primary_key=True)
    project_id: Mapped[str] = mapped_column(
        Id(Prefix.PROJECT), ForeignKey("projects.id", ondelete="CASCADE")
    )
    digest: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)
    manifest: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[CreatedAt]
    deleted_at: Mapped[Utc | None]


class ArtifactLayer(TenantOwned, Base):
    """A blob that is part of an artifact; a higher position is laid over those below."""

    __tablename__ = "artifact_layers"

    artifact_id: Mapped[str] = mapped_column(
        Id(Prefix.ARTIFACT), ForeignKey("artifacts.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    size: Mapped[int] = mapped_column(BigInteger)


class StoredBlob(Base):
    """A blob that is in the store, or is about to be; content belongs to no tenant.

    Whoever comes to rely on one sets `unused_since` to null first, and so takes its row's lock;
    whoever deletes one holds that lock meanwhile.

    Attributes:
        unused_since: when it was found that nothing that is kept needs it.
    """

    __tablename__ = "blobs"
    __table_args__ = (
        Index("ix_blobs_unused", "unused_since", postgresql_where="unused_since IS NOT NULL"),
    )

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    noted_at: Mapped[CreatedAt]
    unused_since: Mapped[Utc | None]
