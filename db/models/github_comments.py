"""The comments that pull requests carry about their previews."""

from __future__ import annotations

from sqlalchemy import BigInteger, ForeignKey, Integer, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc
from db.models.base import Base
from zeitwork.ids import Prefix


class GitHubComment(Base):
    """One for each pull request and organisation; all of the organisation's projects are in it.

    It outlives its previews for a while, as what says that they were removed.

    Attributes:
        repository: `owner/name` in lower case.
        installation_id: through which it was posted last.
        comment_id: what GitHub calls it, once it exists there.
        shown: projects by id that the comment tells of, with their slugs, and when each one's
            preview was gone.
        digest: of the text that was posted last.
        settled: why nothing was posted: an error's code, or that a person deleted the comment.
        settled_detail: the same for people.
        lease_until: until then one process posts, and the others wait.
        noted_at: when it was looked at last.
    """

    __tablename__ = "github_comments"

    organisation_id: Mapped[str] = mapped_column(
        Id(Prefix.ORGANISATION),
        ForeignKey("organisations.id", ondelete="CASCADE"),
        primary_key=True,
    )
    repository: Mapped[str] = mapped_column(String(200), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    installation_id: Mapped[int] = mapped_column(BigInteger)
    comment_id: Mapped[int | None] = mapped_column(BigInteger)
    shown: Mapped[dict[str, dict[str, str]]] = mapped_column(JSONB)
    digest: Mapped[str | None] = mapped_column(String(64))
    settled: Mapped[str | None] = mapped_column(String(64))
    settled_detail: Mapped[str | None] = mapped_column(Prose)
    lease_until: Mapped[Utc | None]
    created_at: Mapped[CreatedAt]
    noted_at: Mapped[Utc] = mapped_column(index=True)
