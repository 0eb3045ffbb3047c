"""Organisations, users, and who belongs where."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id
from db.models.base import Base
from zeitwork.ids import Prefix


class Organisation(Base):
    """A tenant."""

    __tablename__ = "organisations"

    id: Mapped[str] = mapped_column(Id(Prefix.ORGANISATION), primary_key=True)
    slug: Mapped[str] = mapped_column(String(63), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]


class User(Base):
    """A person; belongs to organisations through memberships."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(Id(Prefix.USER), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]


class Membership(Base):
    """A user's role in an organisation."""

    __tablename__ = "memberships"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'developer', 'viewer')", name="role"),
    )

    user_id: Mapped[str] = mapped_column(
        Id(Prefix.USER), ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    organisation_id: Mapped[str] = mapped_column(
        Id(Prefix.ORGANISATION),
        ForeignKey("organisations.id", ondelete="CASCADE"),
        primary_key=True,
    )
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[CreatedAt]
