"""Column types: typed ids as `uuid`, states as checked text, times in UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from sqlalchemy import DateTime, Dialect, Enum, Text, Uuid, func
from sqlalchemy.orm import mapped_column
from sqlalchemy.types import TypeDecorator
from typing_extensions import override

from zeitwork import ids


class Id(TypeDecorator[str]):
    """A typed id: text with its prefix in Python, a bare `uuid` in the table."""

    impl = Uuid
    cache_ok = True

    def __init__(self, prefix: ids.Prefix) -> None:
        super().__init__()
        self.prefix = prefix

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> UUID | None:
        return None if value is None else ids.to_uuid(self.prefix, value)

    @override
    def process_result_value(self, value: UUID | None, dialect: Dialect) -> str | None:
        return None if value is None else ids.from_uuid(self.prefix, value)


class Prose(TypeDecorator[str]):
    """Text that comes from outside; NUL, which PostgreSQL cannot hold, is replaced."""

    impl = Text
    cache_ok = True

    @override
    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else value.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def state(enum: type[StrEnum], name: str, **options: Any) -> Any:
    """A text column that holds one of the enum's values, checked by the database."""
    return mapped_column(
        Enum(
            enum,
            name=name,
            native_enum=False,
            create_constraint=True,
            length=16,
            values_callable=lambda members: [member.value for member in members],
        ),
        **options,
    )


Utc = Annotated[datetime, mapped_column(DateTime(timezone=True))]
CreatedAt = Annotated[datetime, mapped_column(DateTime(timezone=True), server_default=func.now())]
