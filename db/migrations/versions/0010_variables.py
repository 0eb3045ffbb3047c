"""Variables of projects, sealed, and which of them each deployment has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    _create_variables()
    _create_deployment_variables()
    for table in ("variables", "deployment_variables"):
        _guard(table)


def downgrade() -> None:
    op.drop_table("deployment_variables")
    op.drop_table("variables")


def _guard(table: str) -> None:
    tenant = "current_setting('zeitwork.organisation', true)"
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    mine = f"{tenant} = '*' OR organisation_id::text = {tenant}"
    op.execute(f"CREATE POLICY tenant ON {table} USING ({mine})")


def _create_variables() -> None:
    op.create_table(
        "variables",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("environment_id", sa.Uuid(), nullable=True),
        _words("scope", "project", "preview", "environment"),
        _words("phase", "build", "run", "both"),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("key_id", sa.String(length=16), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("created_by", sa.String(length=200), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        _references("variables", "organisation_id", "organisations", cascade=True),
        _references("variables", "project_id", "projects", cascade=True),
        _references("variables", "environment_id", "environments", cascade=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_variables")),
    )
    op.create_index(
        "ix_variables_current",
        "variables",
        ["project_id", "scope", "environment_id", "name"],
        unique=True,
        postgresql_where="replaced_at IS NULL",
        postgresql_nulls_not_distinct=True,
    )
    for column in ("environment_id", "key_id", "organisation_id", "project_id"):
        op.create_index(op.f(f"ix_variables_{column}"), "variables", [column], unique=False)


def _create_deployment_variables() -> None:
    table = "deployment_variables"
    op.create_table(
        table,
        sa.Column("deployment_id", sa.Uuid(), nullable=False),
        sa.Column("variable_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        _references(table, "organisation_id", "organisations", cascade=True),
        _references(table, "deployment_id", "deployments", cascade=True),
        _references(table, "variable_id", "variables"),
        sa.PrimaryKeyConstraint("deployment_id", "variable_id", name=op.f(f"pk_{table}")),
    )
    for column in ("organisation_id", "variable_id"):
        op.create_index(op.f(f"ix_{table}_{column}"), table, [column], unique=False)


def _words(name: str, *words: str) -> sa.Column[str]:
    kind = sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=16)
    return sa.Column(name, kind, nullable=False)


def _references(
    table: str, column: str, other: str, *, cascade: bool = False
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [column],
        [f"{other}.id"],
        name=op.f(f"fk_{table}_{column}_{other}"),
        ondelete="CASCADE" if cascade else None,
    )
