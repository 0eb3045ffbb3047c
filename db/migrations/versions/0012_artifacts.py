"""Layers of artifacts, and the blobs that hold them: since when nothing needs one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

_TENANT = "current_setting('zeitwork.organisation', true)"


def upgrade() -> None:
    op.create_table(
        "blobs",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column(
            "noted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column("unused_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_blobs")),
    )
    op.create_index(
        "ix_blobs_unused", "blobs", ["unused_since"], postgresql_where="unused_since IS NOT NULL"
    )
    _create_layers()
    op.drop_column("artifacts", "orphaned_at")
    op.add_column("artifacts", sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(op.f("ix_deployments_artifact_id"), "deployments", ["artifact_id"])
    # Row-level security hides the artifacts of all tenants from a session without one.
    op.execute("SELECT set_config('zeitwork.organisation', '*', true)")
    op.execute(
        "INSERT INTO blobs (digest, size) SELECT digest, max(size) FROM artifacts GROUP BY digest"
    )
    op.execute(
        "INSERT INTO artifact_layers (artifact_id, position, digest, size, organisation_id) "
        "SELECT id, 0, digest, size, organisation_id FROM artifacts"
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_deployments_artifact_id"), "deployments")
    op.drop_column("artifacts", "deleted_at")
    op.add_column("artifacts", sa.Column("orphaned_at", sa.DateTime(timezone=True), nullable=True))
    op.drop_table("artifact_layers")
    op.drop_table("blobs")


def _create_layers() -> None:
    table = "artifact_layers"
    op.create_table(
        table,
        sa.Column("artifact_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        *(
            sa.ForeignKeyConstraint(
                [f"{parent}_id"],
                [f"{parent}s.id"],
                name=op.f(f"fk_{table}_{parent}_id_{parent}s"),
                ondelete="CASCADE",
            )
            for parent in ("organisation", "artifact")
        ),
        sa.PrimaryKeyConstraint("artifact_id", "position", name=op.f(f"pk_{table}")),
    )
    for column in ("digest", "organisation_id"):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    mine = f"{_TENANT} = '*' OR organisation_id::text = {_TENANT}"
    op.execute(f"CREATE POLICY tenant ON {table} USING ({mine})")
