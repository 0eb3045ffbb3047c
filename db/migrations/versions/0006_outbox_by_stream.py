"""The outbox is kept by stream, so that one that refuses does not hold up the others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("stream", sa.String(length=64), nullable=True))
    op.execute("""
        UPDATE outbox SET stream =
            CASE WHEN log.subject LIKE 'zw.job.%' THEN 'ZW_JOBS' ELSE 'ZW_EVENTS' END
        FROM event_log AS log
        WHERE log.id = outbox.event_log_id AND log.created_at = outbox.created_at
    """)
    op.alter_column("outbox", "stream", nullable=False)
    op.drop_constraint(op.f("pk_outbox"), "outbox", type_="primary")
    op.create_primary_key(op.f("pk_outbox"), "outbox", ["stream", "event_log_id"])


def downgrade() -> None:
    op.drop_constraint(op.f("pk_outbox"), "outbox", type_="primary")
    op.create_primary_key(op.f("pk_outbox"), "outbox", ["event_log_id"])
    op.drop_column("outbox", "stream")
