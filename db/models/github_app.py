"""What the GitHub App sees and does: installations, repositories, reports, missed webhooks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, ForeignKey, Index, Integer, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.columns import CreatedAt, Id, Prose, Utc, state
from db.models.base import Base, TenantOwned, Versioned
from events.states import InstallationState
from zeitwork.ids import Prefix


class GitHubInstallation(Versioned, Base):
    """The App in one account, under GitHub's own id; a deleted one never comes back.

    Attributes:
        organisation_id: who may use it; the first organisation that built with it, until then none.
        seen_at: the moment whose facts these are; older ones change nothing.
    """

    __tablename__ = "github_installations"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    organisation_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ORGANISATION), ForeignKey("organisations.id", ondelete="SET NULL"), index=True
    )
    account: Mapped[str] = mapped_column(String(200))
    account_type: Mapped[str] = mapped_column(String(32))
    repository_selection: Mapped[str] = mapped_column(String(16))
    state: Mapped[InstallationState] = state(InstallationState, "state")
    seen_at: Mapped[Utc]
    created_at: Mapped[CreatedAt]


class GitHubRepository(Base):
    """A repository under GitHub's own id, which it keeps whatever it is called and wherever it is.

    Attributes:
        installation_id: through which it was seen last; null for a webhook without the App.
        full_name: `owner/name` in lower case.
        removed_at: set while the installation may not see it, and once it is deleted.
        seen_at: as of an installation.
    """

    __tablename__ = "github_repositories"
    __table_args__ = (Index("ix_github_repositories_full_name", "full_name"),)

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    installation_id: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("github_installations.id", ondelete="CASCADE"), index=True
    )
    organisation_id: Mapped[str | None] = mapped_column(
        Id(Prefix.ORGANISATION), ForeignKey("organisations.id", ondelete="SET NULL"), index=True
    )
    full_name: Mapped[str] = mapped_column(String(200))
    private: Mapped[bool] = mapped_column(Boolean)
    removed_at: Mapped[Utc | None]
    seen_at: Mapped[Utc]


class GitHubReport(TenantOwned, Base):
    """What GitHub was told about a deployment.

    Attributes:
        github_deployment_id, github_check_id: what GitHub calls them, once they exist there.
        posted: by kind (checks, deployments, statuses) the state that was posted last.
        refused: why GitHub did not take something, for people.
        lease_until: until then one process posts, and the others wait.
    """

    __tablename__ = "github_reports"

    deployment_id: Mapped[str] = mapped_column(
        Id(Prefix.DEPLOYMENT), ForeignKey("deployments.id", ondelete="CASCADE"), primary_key=True
    )
    github_deployment_id: Mapped[int | None] = mapped_column(BigInteger)
    github_check_id: Mapped[int | None] = mapped_column(BigInteger)
    posted: Mapped[dict[str, str]] = mapped_column(JSONB)
    refused: Mapped[str | None] = mapped_column(Prose)
    lease_until: Mapped[Utc | None]
    created_at: Mapped[CreatedAt]


class GitHubDeliveryScan(Base):
    """How far the App's list of deliveries has been read; one row.

    It is read from the newest on, over as many rounds as it takes.

    Attributes:
        floor_at: everything before it has been looked at.
        top_at: the newest delivery of the reading that is under way, the next floor.
        cursor: where that reading goes on; null between two readings.
    """

    __tablename__ = "github_delivery_scan"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    floor_at: Mapped[Utc]
    top_at: Mapped[Utc | None]
    cursor: Mapped[str | None] = mapped_column(String(200))


class GitHubRedelivery(Base):
    """A webhook that did not reach us, by its guid; gone once it did, or after GitHub forgot it.

    Attributes:
        attempt_id: one of its attempts; GitHub is asked for another one by it.
        asked: how often that was done.
        next_at: when to ask; null once it was given up.
    """

    __tablename__ = "github_redeliveries"
    __table_args__ = (Index("ix_github_redeliveries_next_at", "next_at"),)

    guid: Mapped[str] = mapped_column(String(64), primary_key=True)
    attempt_id: Mapped[int] = mapped_column(BigInteger)
    event: Mapped[str] = mapped_column(String(64))
    status_code: Mapped[int] = mapped_column(Integer)
    failed_at: Mapped[Utc]
    asked: Mapped[int] = mapped_column(Integer)
    next_at: Mapped[Utc | None]
