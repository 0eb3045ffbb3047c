"""Kinds of instances, and what a release command is: at most one for each deployment."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    kind = sa.Enum(
        "web", "release", name="kind", native_enum=False, create_constraint=True, length=16
    )
    op.add_column("instances", sa.Column("kind", kind, nullable=False, server_default="web"))
    op.add_column("instances", sa.Column("command", sa.Text(), nullable=True))
    op.add_column("instances", sa.Column("limit_seconds", sa.Integer(), nullable=True))
    op.create_index(
        "ix_instances_release",
        "instances",
        ["deployment_id"],
        unique=True,
        postgresql_where="kind = 'release'",
    )


def downgrade() -> None:
    op.drop_index("ix_instances_release", "instances")
    op.execute("SET LOCAL zeitwork.organisation = '*'")  # else row-level security hides them
    op.execute("DELETE FROM instances WHERE kind = 'release'")
    op.drop_column("instances", "limit_seconds")
    op.drop_column("instances", "command")
    op.drop_column("instances", "kind")
