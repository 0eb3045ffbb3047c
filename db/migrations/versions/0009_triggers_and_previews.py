"""Kinds of environments, path filters, triggers, deploy hooks, pull requests and previews."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

_TENANT_TABLES = ("deploy_hooks", "previews", "triggers")
_JSON = postgresql.JSONB(astext_type=sa.Text())


def upgrade() -> None:
    _add("environments", _word("kind", "production", "custom", "preview"), fill="production")
    _add("environments", sa.Column("closing_at", sa.DateTime(timezone=True), nullable=True))
    _add("environments", sa.Column("closing_reason", sa.Text(), nullable=True))
    for name in ("include_paths", "exclude_paths", "preview_branches"):
        _add("projects", sa.Column(name, _JSON, nullable=False), fill="[]")
    _add("projects", sa.Column("previews_enabled", sa.Boolean(), nullable=False), fill="false")
    _add("projects", sa.Column("preview_limit", sa.Integer(), nullable=False), fill="10")
    _add("projects", sa.Column("preview_max_age_days", sa.Integer(), nullable=False), fill="14")
    _add("projects", _word("preview_forks", "approve", "allow", "trust"), fill="approve")
    _add("projects", sa.Column("closing_at", sa.DateTime(timezone=True), nullable=True))
    _add("deployments", sa.Column("trusted", sa.Boolean(), nullable=False), fill="true")
    _add("deployments", sa.Column("host", sa.String(length=253), nullable=True))
    _index("deployments", "host")
    _add("artifacts", sa.Column("orphaned_at", sa.DateTime(timezone=True), nullable=True))
    _create_git_refs()
    _create_pull_requests()
    _create_previews()
    _create_triggers()
    _create_deploy_hooks()
    for table in _TENANT_TABLES:
        _guard(table)


def downgrade() -> None:
    for table in ("deploy_hooks", "triggers", "previews", "pull_requests", "git_refs"):
        op.drop_table(table)
    op.drop_column("artifacts", "orphaned_at")
    op.drop_index(op.f("ix_deployments_host"), "deployments")
    _drop("deployments", "host", "trusted")
    _drop(
        "projects",
        "closing_at",
        "preview_forks",
        "preview_max_age_days",
        "preview_limit",
        "previews_enabled",
        "preview_branches",
        "exclude_paths",
        "include_paths",
    )
    _drop("environments", "closing_reason", "closing_at", "kind")


def _drop(table: str, *columns: str) -> None:
    for column in columns:
        op.drop_column(table, column)


def _add(table: str, column: sa.Column[Any], *, fill: str | None = None) -> None:
    """Add a column; rows that exist get `fill`, new ones are filled by the program."""
    column.server_default = None if fill is None else sa.DefaultClause(fill)
    op.add_column(table, column)
    if fill is not None:
        op.alter_column(table, column.name, server_default=None)


def _word(name: str, *values: str, nullable: bool = False) -> sa.Column[Any]:
    kind = sa.Enum(*values, name=name, native_enum=False, create_constraint=True, length=16)
    return sa.Column(name, kind, nullable=nullable)


def _guard(table: str) -> None:
    """Row-level security, for the owner too: without a tenant in the session, no rows."""
    tenant = "current_setting('zeitwork.organisation', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} "
        f"USING ({tenant} = '*' OR organisation_id::text = {tenant})"
    )


def _text(name: str, length: int | None = None, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.String(length) if length else sa.Text(), nullable=nullable)


def _time(name: str, *, nullable: bool = False, now: bool = False) -> sa.Column[Any]:
    default = sa.text("now()") if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _id(name: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Uuid(), nullable=nullable)


def _owned(table: str, *parents: str) -> Sequence[sa.Constraint]:
    """What every tenant's table has: its key, and the rows that it goes with."""
    return [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        *(
            sa.ForeignKeyConstraint(
                [f"{parent}_id"],
                [f"{parent}s.id"],
                name=op.f(f"fk_{table}_{parent}_id_{parent}s"),
                ondelete="CASCADE",
            )
            for parent in ("organisation", *parents)
        ),
    ]


def _index(table: str, column: str) -> None:
    op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def _create_git_refs() -> None:
    op.create_table(
        "git_refs",
        _text("repository", 200),
        _text("ref", 1024),
        _text("head", 64, nullable=True),
        _text("previous", 64, nullable=True),
        _text("clone_url", nullable=True),
        _text("message", nullable=True),
        _text("pusher", 200, nullable=True),
        _time("pushed_at", nullable=True),
        _time("noted_at"),
        sa.PrimaryKeyConstraint("repository", "ref", name=op.f("pk_git_refs")),
    )
    _index("git_refs", "noted_at")


def _create_pull_requests() -> None:
    op.create_table(
        "pull_requests",
        _text("repository", 200),
        sa.Column("number", sa.Integer(), nullable=False),
        _text("action", 32),
        sa.Column("open", sa.Boolean(), nullable=False),
        sa.Column("draft", sa.Boolean(), nullable=False),
        _text("title"),
        _text("author", 200),
        _text("head_sha", 64),
        _text("head_ref", 1024),
        _text("head_repo", 200, nullable=True),
        _text("base_ref", 1024),
        _text("clone_url"),
        _text("skip_mark", 32, nullable=True),
        _time("changed_at"),
        _time("noted_at"),
        sa.PrimaryKeyConstraint("repository", "number", name=op.f("pk_pull_requests")),
    )
    _index("pull_requests", "noted_at")


def _create_previews() -> None:
    op.create_table(
        "previews",
        _id("id"),
        _id("project_id"),
        _id("environment_id", nullable=True),
        _text("repository", 200),
        _text("source", 1024),
        sa.Column("pull_number", sa.Integer(), nullable=True),
        _text("branch", 1024),
        sa.Column("from_fork", sa.Boolean(), nullable=False),
        _text("head_sha", 64),
        _text("deployed_sha", 64, nullable=True),
        _text("approved_sha", 64, nullable=True),
        _text("approved_by", 200, nullable=True),
        _word("state", "waiting", "active", "closing"),
        _text("reason", nullable=True),
        _time("created_at", now=True),
        _time("expires_at"),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _id("organisation_id"),
        *_owned("previews", "project", "environment"),
        sa.UniqueConstraint("project_id", "source", name=op.f("uq_previews_project_id_source")),
    )
    for column in ("environment_id", "organisation_id", "repository"):
        _index("previews", column)


def _create_triggers() -> None:
    op.create_table(
        "triggers",
        _id("id"),
        _id("project_id"),
        _id("environment_id", nullable=True),
        _id("delivery_id", nullable=True),
        _id("deployment_id", nullable=True),
        _word("kind", "push", "pull_request", "manual", "hook"),
        _text("ref", 1024),
        _text("commit_sha", 64, nullable=True),
        _text("clone_url", nullable=True),
        _text("message"),
        _text("actor", 200),
        _word("state", "pending", "deployed", "skipped", "failed"),
        _text("reason", nullable=True),
        _time("created_at", now=True),
        _time("decided_at", nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _id("organisation_id"),
        *_owned("triggers", "project", "environment", "deployment"),
    )
    op.create_index("ix_triggers_project_id_id", "triggers", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_triggers_open",
        "triggers",
        ["created_at"],
        unique=False,
        postgresql_where="decided_at IS NULL",
    )
    for column in ("deployment_id", "environment_id", "organisation_id"):
        _index("triggers", column)


def _create_deploy_hooks() -> None:
    op.create_table(
        "deploy_hooks",
        _id("id"),
        _id("project_id"),
        _text("name", 200),
        _text("environment", 63),
        _text("ref", 1024, nullable=True),
        _text("secret_hash", 64),
        sa.Column("generation", sa.Integer(), nullable=False),
        _time("created_at", now=True),
        _time("rotated_at", nullable=True),
        _time("used_at", nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        _id("organisation_id"),
        *_owned("deploy_hooks", "project"),
    )
    for column in ("organisation_id", "project_id"):
        _index("deploy_hooks", column)
