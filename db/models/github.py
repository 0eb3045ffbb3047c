"""Webhook deliveries: kept for good, because their id is the only guard against replay."""

from __future__ import annotations

from sqlalchemy import Boolean, Index, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base
from events.states import DeliveryState
from zeitwork.ids import Prefix


class WebhookDelivery(Base):
    """One delivery: the body as it came (zstd), and what became of it.

    It belongs to the platform: which tenants it concerns is only known once it is processed.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_open", "created_at", postgresql_where="finished_at IS NULL"),
    )

    id: Mapped[str] = mapped_column(Id(Prefix.DELIVERY), primary_key=True)
    guid: Mapped[str] = mapped_column(String(64), unique=True)
    event: Mapped[str] = mapped_column(String(64))
    action: Mapped[str | None] = mapped_column(String(64))
    body: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[DeliveryState] = state(DeliveryState, "state")
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[CreatedAt]
    finished_at: Mapped[Utc | None]


class GitRef(Base):
    """Where a branch or tag points, as far as its pushes said; they may come out of order.

    Attributes:
        repository: `owner/name` on GitHub in lower case; `git:` and a project's id elsewhere.
        head: None once it is deleted.
        previous: the commit before, None for none.
        message: of the newest commit.
        pushed_at: by the sender's clock.
    """

    __tablename__ = "git_refs"

    repository: Mapped[str] = mapped_column(String(200), primary_key=True)
    ref: Mapped[str] = mapped_column(String(1024), primary_key=True)
    head: Mapped[str | None] = mapped_column(String(64))
    previous: Mapped[str | None] = mapped_column(String(64))
    clone_url: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Prose)
    pusher: Mapped[str | None] = mapped_column(String(200))
    pushed_at: Mapped[Utc | None]
    noted_at: Mapped[Utc] = mapped_column(index=True)


class PullRequest(Base):
    """A pull request as GitHub last described it; `changed_at` is by GitHub's clock.

    A closed one is kept for a while, so that what was said of it before and comes late is seen to
    be late.

    Attributes:
        files: the paths that it changes, None where that is not known.
    """

    __tablename__ = "pull_requests"

    repository: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    action: Mapped[str] = mapped_column(String(32))
    open: Mapped[bool] = mapped_column(Boolean)
    draft: Mapped[bool] = mapped_column(Boolean)
    title: Mapped[str] = mapped_column(Prose)
    author: Mapped[str] = mapped_column(String(200))
    head_sha: Mapped[str] = mapped_column(String(64))
    head_ref: Mapped[str] = mapped_column(String(1024))
    head_repo: Mapped[str | None] = mapped_column(String(200))
    base_ref: Mapped[str] = mapped_column(String(1024))
    clone_url: Mapped[str] = mapped_column(Text)
    skip_mark: Mapped[str | None] = mapped_column(String(32))
    changed_at: Mapped[Utc]
    files: Mapped[list[str] | None] = mapped_column(JSONB(none_as_null=True))
    noted_at: Mapped[Utc] = mapped_column(index=True)
