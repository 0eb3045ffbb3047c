"""The declarative base: constraint names, and what every row of a tenant carries."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, declared_attr, mapped_column

from db.columns import Id
from zeitwork.ids import Prefix


class Base(DeclarativeBase):
    """Names constraints the same way everywhere, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class TenantOwned:
    """A row that belongs to an organisation; row-level security keeps others from seeing it."""

    @declared_attr
    @classmethod
    def organisation_id(cls) -> Mapped[str]:
        return mapped_column(
            Id(Prefix.ORGANISATION), ForeignKey("organisations.id", ondelete="CASCADE"), index=True
        )


class Versioned:
    """A row whose `version` grows with every update; an update of an old version fails."""

    version: Mapped[int] = mapped_column(BigInteger)

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.version}
