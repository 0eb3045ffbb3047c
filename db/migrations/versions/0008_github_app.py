"""The GitHub App: installations, repositories, reports, missed webhooks."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    _create_installations()
    _create_repositories()
    _create_reports()
    _create_delivery_scan()
    _create_redeliveries()
    for table in ("github_installations", "github_repositories", "github_reports"):
        _guard(table)


def downgrade() -> None:
    op.drop_table("github_redeliveries")
    op.drop_table("github_delivery_scan")
    op.drop_table("github_reports")
    op.drop_table("github_repositories")
    op.drop_table("github_installations")


def _guard(table: str) -> None:
    """Row-level security, for the owner too: without a tenant in the session, no rows.

    db/engine.py sets `zeitwork.organisation` at the start of each transaction: an organisation's
    uuid, or `*` for the platform's own work.
    """
    tenant = "current_setting('zeitwork.organisation', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} "
        f"USING ({tenant} = '*' OR organisation_id::text = {tenant})"
    )


def _created_at() -> sa.Column[datetime]:
    return sa.Column(
        "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def _organisation(table: str, ondelete: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["organisation_id"],
        ["organisations.id"],
        name=op.f(f"fk_{table}_organisation_id_organisations"),
        ondelete=ondelete,
    )


def _create_installations() -> None:
    states = ("active", "suspended", "deleted")
    op.create_table(
        "github_installations",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("account", sa.String(length=200), nullable=False),
        sa.Column("account_type", sa.String(length=32), nullable=False),
        sa.Column("repository_selection", sa.String(length=16), nullable=False),
        sa.Column(
            "state",
            sa.Enum(*states, name="state", native_enum=False, create_constraint=True, length=16),
            nullable=False,
        ),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        _created_at(),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _organisation("github_installations", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_github_installations")),
    )
    op.create_index(
        "ix_github_installations_organisation_id", "github_installations", ["organisation_id"]
    )


def _create_repositories() -> None:
    op.create_table(
        "github_repositories",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("installation_id", sa.BigInteger(), nullable=True),
        sa.Column("organisation_id", sa.Uuid(), nullable=True),
        sa.Column("full_name", sa.String(length=200), nullable=False),
        sa.Column("private", sa.Boolean(), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["installation_id"],
            ["github_installations.id"],
            name=op.f("fk_github_repositories_installation_id_github_installations"),
            ondelete="CASCADE",
        ),
        _organisation("github_repositories", "SET NULL"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_github_repositories")),
    )
    for column in ("full_name", "installation_id", "organisation_id"):
        op.create_index(f"ix_github_repositories_{column}", "github_repositories", [column])


def _create_reports() -> None:
    op.create_table(
        "github_reports",
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("github_deployment_id", sa.BigInteger(), nullable=True),
        sa.Column("github_check_id", sa.BigInteger(), nullable=True),
        sa.Column("posted", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("refused", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        _created_at(),
        sa.ForeignKeyConstraint(
            ["deployment_id"],
            ["deployments.id"],
            name=op.f("fk_github_reports_deployment_id_deployments"),
            ondelete="CASCADE",
        ),
        _organisation("github_reports", "CASCADE"),
        sa.PrimaryKeyConstraint("deployment_id", name=op.f("pk_github_reports")),
    )
    op.create_index("ix_github_reports_organisation_id", "github_reports", ["organisation_id"])


def _create_delivery_scan() -> None:
    op.create_table(
        "github_delivery_scan",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("floor_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("top_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cursor", sa.String(length=200), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_github_delivery_scan")),
    )


def _create_redeliveries() -> None:
    op.create_table(
        "github_redeliveries",
        sa.Column("guid", sa.String(length=64), nullable=False),
        sa.Column("attempt_id", sa.BigInteger(), nullable=False),
        sa.Column("event", sa.String(length=64), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("asked", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("guid", name=op.f("pk_github_redeliveries")),
    )
    op.create_index("ix_github_redeliveries_next_at", "github_redeliveries", ["next_at"])
