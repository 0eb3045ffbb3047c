"""Comments on pull requests about their previews; the files that pull requests change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"

_TABLE = "github_comments"


def upgrade() -> None:
    files = sa.Column("files", postgresql.JSONB(astext_type=sa.Text()), nullable=True)
    op.add_column("pull_requests", files)
    op.create_table(
        _TABLE,
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("repository", sa.String(length=200), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("installation_id", sa.BigInteger(), nullable=False),
        sa.Column("comment_id", sa.BigInteger(), nullable=True),
        sa.Column("shown", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=True),
        sa.Column("settled", sa.String(length=64), nullable=True),
        sa.Column("settled_detail", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f(f"fk_{_TABLE}_organisation_id_organisations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint(
            "organisation_id", "repository", "number", name=op.f(f"pk_{_TABLE}")
        ),
    )
    op.create_index(op.f(f"ix_{_TABLE}_noted_at"), _TABLE, ["noted_at"], unique=False)
    tenant = "current_setting('zeitwork.organisation', true)"
    op.execute(f"ALTER TABLE {_TABLE} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {_TABLE} FORCE ROW LEVEL SECURITY")
    mine = f"{tenant} = '*' OR organisation_id::text = {tenant}"
    op.execute(f"CREATE POLICY tenant ON {_TABLE} USING ({mine})")


def downgrade() -> None:
    op.drop_table(_TABLE)
    op.drop_column("pull_requests", "files")
