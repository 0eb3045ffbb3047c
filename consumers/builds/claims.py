"""Who builds what: takes the next build from the queue, and holds it by a lease.

A request only says that the queue has grown. Whoever gets one takes the build that comes first by
`events.build_order`, under a lock, so that no limit is ever exceeded by two who count at once. When
a limit leaves nothing to take, a build is marked as passed over, and whoever makes room asks for it
again: there are never fewer requests on their way than builds that could begin.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.builds.requests import ask_again
from consumers.outcomes import Done, Later, Outcome
from db.models import Build
from db.queries.build_queue import (
    Thread,
    build_passed_over,
    build_thread,
    builds_passed,
    queue_lock,
    queue_read,
)
from db.queries.builds import (
    build_find,
    build_lock,
    build_renew,
    build_requests,
    builds_let_go,
)
from db.session import Transaction, UnitOfWork
from events import builds as facts
from events.build_order import Limits, Obstacle, Queue, choose, obstacle, ordered
from events.event import Event
from events.states import BuildState, terminal
from zeitwork import clock, context, ids, logs, tracing
from zeitwork.errors import ZeitworkError

_log = logs.get(__name__)
LEASE = timedelta(seconds=40)  # shorter than the wait for a dead builder's message
_MOST_ATTEMPTS = 3  # a build that takes its builder down is not to take down all of them
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 2.5
_FULL = Later(1.0, Obstacle.BUILDER)


@dataclass(frozen=True, slots=True)
class Place:
    """The machine that builds.

    Attributes:
        name: processes of the same name share the slots.
        per_organisation: builds of one organisation at once, on all machines together.
    """

    name: str = "local"
    slots: int = 2
    per_organisation: int = 8

    @property
    def limits(self) -> Limits:
        return Limits(self.per_organisation, builder=self.name, slots=self.slots)


@dataclass(frozen=True, slots=True)
class Taken:
    """A build that this process holds, and the thread of causes that it belongs to."""

    build: Build
    token: str
    thread: Thread

    @contextmanager
    def bound(self, asked: str) -> Iterator[None]:
        """Work on this build, though the request that led here may be another's."""
        if self.build.id == asked:
            yield
            return
        with (
            context.bind(
                correlation_id=self.thread.correlation_id,
                causation_id=self.thread.causation_id,
                organisation_id=self.build.organisation_id,
                project_id=self.build.project_id,
            ),
            tracing.resumed(self.thread.traceparent),
        ):
            yield


class Claims:
    """Takes builds for one machine, keeps their leases, and lets go of them."""

    def __init__(self, work: UnitOfWork, place: Place) -> None:
        self._work = work
        self._place = place

    async def take(self, asked: str) -> Taken | Outcome:
        """The next build; `asked` is the one whose request this is.

        While the machine is full this waits a little: room here is quicker than another machine.
        """
        until = clock.monotonic() + _PATIENCE_SECONDS
        while True:
            async with self._work.transaction() as tx:
                found = await self._take(tx, asked)
            if found is not _FULL or clock.monotonic() >= until:
                return found
            await clock.sleep(_LOOK_SECONDS)

    async def renew(self, taken: Taken) -> bool:
        """Extend the lease; False when the build is no longer ours to run."""
        async with self._work.transaction() as tx:
            return await build_renew(
                tx.session, taken.build.id, token=taken.token, until=clock.now() + LEASE
            )

    async def held(self, tx: Transaction, taken: Taken) -> Build | None:
        """The build's row, locked, if it is still ours."""
        build = await build_lock(tx.session, taken.build.id)
        if build is None or build.lease_token != taken.token or terminal(build.state):
            return None
        return build

    async def give_back(self, taken: Taken, *, interrupted: bool) -> None:
        """Let the next builder begin at once; one that we only interrupted has not had its try."""
        try:
            async with self._work.transaction() as tx:
                build = await self.held(tx, taken)
                if build is not None:
                    build.lease_until = None
                    build.attempts -= interrupted
        except ZeitworkError as error:
            # It runs out by itself.
            _log.warning("lease not released", build_id=taken.build.id, code=error.code)

    async def let_go(self, names: Collection[str]) -> None:
        """Their builders on this machine are dead: nobody has to wait for the leases' end.

        Whoever has taken one since then extends the lease again, or loses a try to another: the
        token still guards the result.
        """
        if names:
            async with self._work.transaction() as tx:
                await builds_let_go(tx.session, names, builder=self._place.name)

    async def ask_next(self) -> None:
        """There may be room: ask again for a build that was passed over, if one can begin."""
        limits = Limits(self._place.per_organisation)
        async with self._work.transaction() as tx:
            # Behind the lock: whoever has just found a limit in our way has noted it by then.
            await queue_lock(tx.session)
            if not await builds_passed(tx.session):
                return
            queue = await queue_read(tx.session, clock.now(), of="passed")
            chosen = choose(queue, limits)
            build = await build_lock(tx.session, chosen.build_id) if chosen is not None else None
            if build is None or build.state is not BuildState.QUEUED:
                return
            build.passed_at = None
            requests = await build_requests(tx.session, build.id)
            cause = requests[0].event.event_id if requests else None
            await ask_again(tx, build, cause=cause)

    async def _take(self, tx: Transaction, asked: str) -> Taken | Outcome:
        await queue_lock(tx.session)
        now, limits = clock.now(), self._place.limits
        queue = await queue_read(tx.session, now, of="candidates")
        while (chosen := choose(queue, limits)) is not None:
            build = await build_lock(tx.session, chosen.build_id)
            if build is not None and _idle(build, now):
                if build.attempts < _MOST_ATTEMPTS:
                    return await self._begin(tx, build, asked)
                _abandon(tx, build)
                await tx.session.flush()
            # It was cancelled between the look and the lock, or is done with.
            queue = await queue_read(tx.session, now, of="candidates")
        return await _nothing(tx, queue, limits, asked=asked, now=now)

    async def _begin(self, tx: Transaction, build: Build, asked: str) -> Taken:
        build.lease_token = ids.token()
        build.lease_until = clock.now() + LEASE
        build.builder = self._place.name
        build.attempts += 1
        was_passed, build.passed_at = build.passed_at is not None, None
        taken = Taken(build, build.lease_token, await build_thread(tx.session, build))
        if build.state is BuildState.QUEUED:
            build.state = BuildState.RUNNING
            build.started_at = clock.now()
            if was_passed:
                # This request was another build's, whose mark is ours to set then.
                await tx.session.flush()
                await build_passed_over(tx.session, asked, clock.now())
            with taken.bound(asked):
                started = facts.BuildStarted(build_id=build.id, deployment_id=build.deployment_id)
                emit(tx, build, started)
        return taken


def emit(tx: Transaction, build: Build, fact: Event) -> None:
    """Say something about a build that this transaction changes."""
    tx.emit(
        fact,
        subject=build.id,
        version=build.version + 1,
        organisation_id=build.organisation_id,
        project_id=build.project_id,
    )


def end_failed(tx: Transaction, build: Build, *, code: str, detail: str) -> None:
    """End a (locked) build that will not become an artifact."""
    build.state = BuildState.FAILED
    build.finished_at = clock.now()
    build.error_code, build.error_detail = code, detail
    failed = facts.BuildFailed(
        build_id=build.id, deployment_id=build.deployment_id, code=code, detail=detail
    )
    emit(tx, build, failed)


def _idle(build: Build, now: datetime) -> bool:
    if build.state is BuildState.RUNNING:
        return build.lease_until is None or build.lease_until <= now
    return build.state is BuildState.QUEUED


def _abandon(tx: Transaction, build: Build) -> None:
    _log.error("build abandoned", build_id=build.id, attempts=build.attempts)
    end_failed(
        tx,
        build,
        code="builder_lost",
        detail=f"{build.attempts} builders began this build and ended without a word. It may use "
        "more memory or disk than a builder has; look at the logs of the consumers.",
    )


async def _nothing(
    tx: Transaction, queue: Queue, limits: Limits, *, asked: str, now: datetime
) -> Outcome:
    """There is nothing to take; what waits must not be forgotten with its request."""
    waiting = ordered(queue)
    if waiting and obstacle(waiting[0], queue, limits) is Obstacle.BUILDER:
        return _FULL
    await build_passed_over(tx.session, asked, now)
    own = await build_find(tx.session, asked)
    if own is not None and own.state is BuildState.RUNNING and own.lease_until is not None:
        return Later(max(1.0, (own.lease_until - now).total_seconds()), "another builder has it")
    return Done()
