"""The one place that commits: rows and the events about them, together or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm.exc import StaleDataError

from db import inbox, outbox
from db.direct import Direct
from db.engine import ALL_TENANTS, Database, Opened, beginning, distrust, opened, translated
from db.wake import Wake
from events import subjects
from events.bus import Message, addressed
from events.envelope import Envelope, wrap
from events.event import Event
from zeitwork import ids, logs
from zeitwork.errors import Conflict, DatabaseUnavailable, ZeitworkError

_log = logs.get(__name__)


class Stale(Conflict):
    """Somebody else changed the row meanwhile; reading it again and deciding anew helps."""

    code = "stale"
    retryable = True


@dataclass(frozen=True, slots=True)
class Take:
    """Events that a consumer takes with the transaction; see `inbox.taking`."""

    consumer: str
    event_ids: Sequence[str]


class Transaction:
    """A unit of work: its statements, and the events that its commit makes known.

    Attributes:
        first_time: False when the consumer has taken before all that was to be taken.
    """

    def __init__(self, opened: Opened, source: str) -> None:
        self.direct = opened.direct
        self.first_time = opened.answer is None or bool(opened.answer)
        self._new = {event for (event,) in opened.answer or ()}
        self.emitted: list[tuple[Envelope, Message]] = []
        self.streams: set[str] = set()
        self.discarded = False
        self.committed = False
        self._source = source
        self._connection = opened.connection
        self._session: AsyncSession | None = None
        self._afterwards: list[Callable[[], None]] = []

    @property
    def session(self) -> AsyncSession:
        """Made when it is first asked for; `direct` costs less and sees the same transaction."""
        if self._session is None:
            self._session = AsyncSession(self._connection, expire_on_commit=False)
        return self._session

    def claims(self, event_id: str) -> bool:
        """Whether an event of the take is to be handled: it is new, and nobody asked before.

        The same event may have been delivered twice at once.
        """
        event = ids.to_uuid(ids.Prefix.EVENT, event_id)
        claimed = event in self._new
        self._new.discard(event)
        return claimed

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
        named = subjects.of(envelope, job_class=job_class)
        stream, message = addressed(Message.of(envelope, named))
        self.emitted.append((envelope, message))
        self.streams.add(stream.name)
        return envelope

    def discard(self) -> None:
        """Let nothing of this transaction happen, without an error."""
        self.discarded = True

    def on_commit(self, call: Callable[[], None]) -> None:
        """Call once the transaction has committed; for counters, which know no rollback."""
        self._afterwards.append(call)

    async def part(self) -> None:
        """End a part of the work that knows nothing of the parts behind it.

        What it changed is written, and what it loaded is forgotten: the next part has to see the
        rows as they are, and not objects that somebody else's commit has made old.
        """
        if self._session is not None:
            await self._session.flush()
            self._session.expunge_all()

    async def commit(self) -> None:
        """The work of `UnitOfWork`."""
        if self._session is not None:
            # Aggregates first: their row locks put the ids of one aggregate's events into the
            # order of their commits.
            await self._session.flush()
        if not self.direct.sound:
            # PostgreSQL would answer the COMMIT with a rollback, and the caller would not know.
            raise RuntimeError("an error of the database was swallowed; nothing is kept")
        await outbox.append(self.direct, self.emitted)
        if self._session is not None:
            await self._session.commit()  # of a session that was asked nothing, this is nothing
        await self.direct.commit()
        self.committed = True
        for call in self._afterwards:
            call()

    async def close(self) -> None:
        """The work of `UnitOfWork`: take back what was not committed."""
        if self._session is not None:
            await self._session.close()
        await self.direct.rollback()


class UnitOfWork:
    """Opens transactions on one database and wakes the relay after those that emitted."""

    def __init__(self, database: Database, *, wake: Wake | None = None) -> None:
        self.database = database
        self.events_committed = 0  # through here since the start
        self._wake = wake

    @asynccontextmanager
    async def transaction(
        self,
        *,
        tenant: str = ALL_TENANTS,
        connection: AsyncConnection | None = None,
        take: Take | None = None,
        lock_seconds: float | None = None,
    ) -> AsyncIterator[Transaction]:
        """Commit at the end of the block; roll back on an error or `discard`.

        Args:
            connection: to run on, for one that holds a lock; any of the pool by default.
            take: events to note in the inbox; `Transaction.claims` tells which were new.
            lock_seconds: how long a statement waits for a lock, if less than usual.

        Raises:
            DatabaseUnavailable: the outcome is unknown if it happens at the commit. Also when the
                session of `connection` has ended, and its locks with it.
            Stale: a row was changed by somebody else meanwhile.
            Conflict: a uniqueness rule of the tables was broken.
        """
        first = None if take is None else inbox.taking(take.consumer, take.event_ids)
        opening = beginning(tenant, access="READ WRITE", first=first, lock_seconds=lock_seconds)
        begun = _begun(connection, opening) if connection else opened(self.database.engine, opening)
        with translated(), _rules():
            async with begun as lent:
                work = Transaction(lent, f"zeitwork/{self.database.application}")
                try:
                    yield work
                    await self._end(work)
                finally:
                    await work.close()
        if work.committed and work.emitted:
            self.events_committed += len(work.emitted)
            await self._wake_relay(work.streams)

    async def _end(self, tx: Transaction) -> None:
        """What happens when the block has come to its end."""
        if not tx.discarded:
            await tx.commit()

    async def _wake_relay(self, streams: Collection[str]) -> None:
        if self._wake is None:
            return
        try:
            await self._wake(streams)
        except ZeitworkError as error:
            # The relay polls as well; a lost wake-up costs a quarter of a second.
            _log.debug("relay not woken", code=error.code)


@asynccontextmanager
async def _begun(connection: AsyncConnection, opening: str) -> AsyncIterator[Opened]:
    """As `opened`, on a connection that is given for a lock that it holds."""
    if connection.invalidated or (direct := Direct(connection)).closed:
        # Another session would do, but the lock does not belong to it.
        raise DatabaseUnavailable("PostgreSQL ended the session of the connection")
    try:
        answer = await direct.script(opening)
    except DatabaseUnavailable:
        if Direct(connection).closed:
            await distrust(connection)
        raise
    yield Opened(connection, direct, answer)


@contextmanager
def _rules() -> Iterator[None]:
    try:
        yield
    except StaleDataError as error:
        raise Stale("the row was changed by somebody else meanwhile") from error
    except IntegrityError as error:
        constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None)
        raise Conflict(f"the change breaks a rule of the data ({constraint})") from error
