"""The queue of builds: priorities, builders; their logs by stream, and packed afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column(
        "projects",
        sa.Column("newer_commit", sa.String(length=16), server_default="cancel", nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_projects_newer_commit"), "projects", "newer_commit IN ('cancel', 'queue', 'all')"
    )
    for name in ("priority", "attempts"):
        op.add_column("builds", sa.Column(name, sa.Integer(), server_default="0", nullable=False))
    op.add_column("builds", sa.Column("builder", sa.String(length=253), nullable=True))
    op.add_column("builds", sa.Column("passed_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column(
        "builds",
        sa.Column("log_packed", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_index(
        "ix_builds_unpacked", "builds", ["finished_at"], postgresql_where="NOT log_packed"
    )
    op.add_column(
        "build_logs",
        sa.Column("stream", sa.String(length=8), server_default="platform", nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_build_logs_stream"), "build_logs", "stream IN ('stdout', 'stderr', 'platform')"
    )
    _create_builders()
    _create_packs()


def downgrade() -> None:
    op.drop_table("build_log_packs")
    op.drop_table("builders")
    op.drop_column("build_logs", "stream")
    op.drop_index("ix_builds_unpacked", table_name="builds")
    for name in ("log_packed", "passed_at", "builder", "attempts", "priority"):
        op.drop_column("builds", name)
    op.drop_column("projects", "newer_commit")


def _create_builders() -> None:
    op.create_table(
        "builders",
        sa.Column("name", sa.String(length=253), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_builders")),
    )


def _create_packs() -> None:
    op.create_table(
        "build_log_packs",
        sa.Column("build_id", sa.Uuid(), nullable=False),
        sa.Column("last_line", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["build_id"],
            ["builds.id"],
            name=op.f("fk_build_log_packs_build_id_builds"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_build_log_packs_organisation_id_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("build_id", "last_line", name=op.f("pk_build_log_packs")),
    )
    op.create_index(
        op.f("ix_build_log_packs_organisation_id"), "build_log_packs", ["organisation_id"]
    )
    # Row-level security as of every other tenant table; see migration 0003.
    tenant = "current_setting('zeitwork.organisation', true)"
    op.execute("ALTER TABLE build_log_packs ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE build_log_packs FORCE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY tenant ON build_log_packs"
        f" USING ({tenant} = '*' OR organisation_id::text = {tenant})"
    )
