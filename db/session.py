"""The one place that commits: rows and the events about them, together or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from db import outbox
from db.engine import ALL_TENANTS, Database, set_tenant, translated
from events import subjects
from events.bus import Message, addressed
from events.envelope import Envelope, wrap
from events.event import Event
from zeitwork import logs
from zeitwork.errors import Conflict, DatabaseUnavailable, ZeitworkError

_log = logs.get(__name__)
Wake = Callable[[], Awaitable[None]]


class Stale(Conflict):
    """Somebody else changed the row meanwhile; reading it again and deciding anew helps."""

    code = "stale"
    retryable = True


class Transaction:
    """A unit of work: a session, and the events that its commit makes known."""

    def __init__(self, session: AsyncSession, source: str) -> None:
        self.session = session
        self.emitted: list[tuple[Envelope, str]] = []
        self.discarded = False
        self.committed = False
        self._source = source
        self._afterwards: list[Callable[[], None]] = []

    def emit(
        self,
        event: Event,
        *,
        subject: str,
        version: int = 1,
        organisation_id: str | None = None,
        project_id: str | None = None,
        job_class: subjects.JobClass = "production",
    ) -> Envelope:
        """Say something about the aggregate `subject`; published once this transaction commits.

        Raises:
            BodyTooLarge: no stream takes an event of this size; it would block the outbox.
        """
        envelope = wrap(
            event,
            subject=subject,
            source=self._source,
            aggregate_version=version,
            organisation_id=organisation_id,
            project_id=project_id,
        )
        subject_name = subjects.of(envelope, job_class=job_class)
        addressed(Message.of(envelope, subject_name))
        self.emitted.append((envelope, subject_name))
        return envelope

    def discard(self) -> None:
        """Let nothing of this transaction happen, without an error."""
        self.discarded = True

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call once the transaction has committed; for counters, which know no rollback."""
        self._afterwards.append(call)

    async def commit(self) -> None:
        """The work of `UnitOfWork`."""
        await outbox.append(self.session, self.emitted)
        await self.session.commit()
        self.committed = True
        for call in self._afterwards:
            call()


class UnitOfWork:
    """Opens transactions on one database and wakes the relay after those that emitted."""

    def __init__(self, database: Database, *, wake: Wake | None = None) -> None:
        self.database = database
        self.committed_events = 0  # through here since the start
        self._wake = wake

    @asynccontextmanager
    async def transaction(
        self, *, tenant: str = ALL_TENANTS, connection: AsyncConnection | None = None
    ) -> AsyncIterator[Transaction]:
        """Commit at the end of the block; roll back on an error or `discard`.

        Args:
            connection: to run on, for one that holds a lock; any of the pool by default.

        Raises:
            DatabaseUnavailable: the outcome is unknown if it happens at the commit. Also when the
                session of `connection` has ended, and its locks with it.
            Stale: a row was changed by somebody else meanwhile.
            Conflict: a uniqueness rule of the tables was broken.
        """
        if connection is not None and connection.invalidated:
            # SQLAlchemy would open another session, to which the lock does not belong.
            raise DatabaseUnavailable("PostgreSQL ended the session of the connection")
        source = f"zeitwork/{self.database.application}"
        async with (
            translated(),
            _rules(),
            AsyncSession(connection or self.database.engine, expire_on_commit=False) as session,
        ):
            await set_tenant(session, tenant)
            work = Transaction(session, source)
            yield work
            await self._end(work)
        if work.committed and work.emitted:
            self.committed_events += len(work.emitted)
            await self._wake_relay()

    async def _end(self, tx: Transaction) -> None:
        """What happens when the block has come to its end."""
        if tx.discarded:
            await tx.session.rollback()
        else:
            await tx.commit()

    async def _wake_relay(self) -> None:
        if self._wake is None:
            return
        try:
            await self._wake()
        except ZeitworkError as error:
            # The relay polls as well; a lost wake-up costs a quarter of a second.
            _log.debug("relay not woken", code=error.code)


@asynccontextmanager
async def _rules() -> AsyncIterator[None]:
    try:
        yield
    except StaleDataError as error:
        raise Stale("the row was changed by somebody else meanwhile") from error
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        raise Conflict(f"the change breaks a rule of the data ({constraint})") from error
