"""A unit of work whose transactions happen for real and are then taken back, with a record of each.

How the record finds what a transaction wrote, whatever wrote it (ORM, core or plain SQL):

- PostgreSQL stamps each row version with the transaction that made it (`xmin`). That is the
  transaction's own number, or the number of a savepoint in it; savepoints get later numbers than
  their transaction. So a version that this transaction sees is its own if its `xmin` lies between
  this transaction's number and the next free one, and `pg_xact_status` calls it still in progress:
  nobody else's unfinished versions can be seen.
- What was there before is what another connection sees. It cannot change meanwhile: the row locks
  of the transaction last until it is taken back.
- A deleted row is one that the other connection sees and this transaction does not. Only tables in
  which PostgreSQL counted deletions are compared (`track_counts`, which is on by default).

Transaction numbers are 64 bits wide, their stamps 32; differences are therefore taken modulo 2³².
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, Table, literal_column, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import override

from db.columns import Id
from db.engine import Database
from db.models.base import Base
from db.session import Transaction, UnitOfWork
from events.envelope import Envelope
from zeitwork import ids

Row = Mapping[str, Any]
Key = tuple[Any, ...]

# The record keeps emitted events by itself; the others only tell that and when something was done.
_UNRECORDED = frozenset({"build_logs", "event_log", "inbox", "outbox"})
_OWN = """
    CASE WHEN (t.xmin::text::bigint - CAST(:low AS bigint) + 4294967296) % 4294967296
              < CAST(:span AS bigint)
    THEN pg_xact_status(
        (CAST(:top AS bigint)
         + (t.xmin::text::bigint - CAST(:low AS bigint) + 4294967296) % 4294967296
        )::text::xid8) = 'in progress'
    ELSE false END
"""
_STAMPS = 1 << 32


@dataclass(frozen=True, slots=True)
class Change:
    """A row that was written: as others see it, and as it would have become."""

    table: str
    key: Row
    before: Row | None
    after: Row | None

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """The columns that differ, each with its value before and after."""
        before, after = self.before or {}, self.after or {}
        return {
            name: (before.get(name), after.get(name))
            for name in after or before
            if before.get(name) != after.get(name)
        }


class Rehearsal(UnitOfWork):
    """Handlers take it for the real one; nothing that they do comes to stay.

    Attributes:
        changes: what its transactions would have written; later ones do not see earlier ones.
        emitted: the events that they would have made known.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.changes: list[Change] = []
        self.emitted: list[Envelope] = []

    @override
    async def _end(self, tx: Transaction) -> None:
        if not tx.discarded:
            await tx.session.flush()
            # What a commit would check last is checked here.
            await tx.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
            self.changes += await _written(tx.session, self.database)
            self.emitted += [envelope for envelope, _ in tx.emitted]


async def _written(session: AsyncSession, database: Database) -> list[Change]:
    """What the session's transaction has written so far."""
    assigned = text("SELECT pg_current_xact_id_if_assigned()::text::bigint")
    top = (await session.execute(assigned)).scalar_one()
    if top is None:
        return []
    changes: list[Change] = []
    async with database.read() as outside:
        after = await _own_rows(session, top, free=await _next_free(outside))
        for table in _tables():
            rows = after.get(table.name, {})
            before = await _rows(outside, table, rows)
            changes += [_change(table, before.get(key), row) for key, row in rows.items()]
        for table in await _tables_with_deletions(session):
            changes += await _deletions(session, outside, table)
    return changes


async def _next_free(outside: AsyncSession) -> int:
    """A number that is later than those of all savepoints so far: a fresh transaction's own."""
    taking = text("SELECT pg_current_xact_id()::text::bigint")
    number: int = (await outside.execute(taking)).scalar_one()
    return number


async def _own_rows(session: AsyncSession, top: int, *, free: int) -> dict[str, dict[Key, Row]]:
    """Rows that the session's transaction made or changed, by table and key."""
    statement = " UNION ALL ".join(
        f"SELECT '{table.name}', to_jsonb(t) FROM {table.name} AS t WHERE {_OWN}"  # noqa: S608 - our own tables
        for table in _tables()
    )
    numbers = {"top": top, "low": top % _STAMPS, "span": free - top}
    found: dict[str, dict[Key, Row]] = {}
    tables = {table.name: table for table in _tables()}
    for name, content in await session.execute(text(statement), numbers):
        row = _spoken(tables[name], content)
        found.setdefault(name, {})[_key(tables[name], row)] = row
    return found


async def _rows(session: AsyncSession, table: Table, keys: Iterable[Key]) -> dict[Key, Row]:
    """The rows with these keys, as the session sees them."""
    wanted = list(keys)
    if not wanted:
        return {}
    named = table.alias("t")
    columns = [named.c[column.name] for column in table.primary_key]
    query: Select[Any] = select(literal_column("to_jsonb(t)")).select_from(named)
    found = await session.execute(query.where(tuple_(*columns).in_(wanted)))
    rows = [_spoken(table, content) for content in found.scalars()]
    return {_key(table, row): row for row in rows}


async def _tables_with_deletions(session: AsyncSession) -> list[Table]:
    """Where the transaction deleted something, or one before it on the same connection."""
    query = text("SELECT relname FROM pg_stat_xact_user_tables WHERE n_tup_del > 0")
    names = set((await session.execute(query)).scalars())
    return [table for table in _tables() if table.name in names]


async def _deletions(session: AsyncSession, outside: AsyncSession, table: Table) -> list[Change]:
    """Rows that only others still see; one that they no longer see either was theirs to delete."""
    gone = await _keys(outside, table) - await _keys(session, table)
    return [_change(table, row, None) for row in (await _rows(outside, table, gone)).values()]


async def _keys(session: AsyncSession, table: Table) -> set[Key]:
    rows = (await session.execute(select(*table.primary_key))).all()
    return {tuple(row) for row in rows}


def _tables() -> Sequence[Table]:
    return [table for table in Base.metadata.sorted_tables if table.name not in _UNRECORDED]


def _change(table: Table, before: Row | None, after: Row | None) -> Change:
    row = after or before or {}
    key = {column.name: row[column.name] for column in table.primary_key}
    return Change(table.name, key, before, after)


def _key(table: Table, row: Row) -> Key:
    return tuple(row[column.name] for column in table.primary_key)


def _spoken(table: Table, row: Mapping[str, Any]) -> Row:
    """The row with its ids in the form that people know."""
    return dict(_columns(table, row))


def _columns(table: Table, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        kind = table.c[name].type if name in table.c else None
        if isinstance(kind, Id) and value is not None:
            yield name, ids.from_uuid(kind.prefix, UUID(value))
        else:
            yield name, value
