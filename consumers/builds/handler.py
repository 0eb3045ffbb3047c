"""A build request → the pipeline → an artifact, under a lease that one builder holds.

The message is only the trigger. The row says whether the build is still wanted, and the lease's
token is checked before each side effect, so that a builder that was taken for dead changes nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from consumers.builds.log_writer import LogWriter
from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from consumers.outcomes import Done, Drop, Later, Outcome
from db.models import Build
from db.queries.builds import artifact_upsert, build_lock, build_logs_last, build_renew
from db.session import Transaction, UnitOfWork
from events import builds as facts
from events.bus import Bus
from events.envelope import Envelope
from events.event import Event
from events.states import BuildState, terminal
from zeitwork import clock, failpoints, ids, logs
from zeitwork.errors import Conflict, ZeitworkError
from zeitwork.failpoints import Failpoint
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)
_LEASE = timedelta(seconds=60)
_RENEW_SECONDS = 15.0


class LeaseLost(Conflict):
    """Another builder took the build, or it was cancelled; its result is not wanted."""

    code = "build_lease_lost"


@dataclass(frozen=True, slots=True)
class Taken:
    """A build that this process holds."""

    build: Build
    token: str
    last_line: int


class Builder:
    """Handles build requests; the runtime calls it for as many at once as there are slots."""

    def __init__(self, *, work: UnitOfWork, bus: Bus, pipeline: Pipeline) -> None:
        self._work = work
        self._bus = bus
        self._pipeline = pipeline

    async def build_requested(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, facts.BuildRequested)  # noqa: S101 - bound so by the registry
        taken = await self._take(event.build_id)
        if not isinstance(taken, Taken):
            return taken
        log = LogWriter(
            taken.build,
            token=taken.token,
            work=self._work,
            bus=self._bus,
            last_line=taken.last_line,
        )
        await log.start()
        try:
            result = await self._run(taken, log)
        except LeaseLost as error:
            _log.info("build abandoned", build_id=taken.build.id, code=error.code)
            return Drop(error.message)
        except Conflict as error:
            # A builder that was taken for dead still holds this machine's directory.
            await self._give_back(taken, log)
            return Later(_LEASE.total_seconds(), error.message)
        except ZeitworkError as error:
            if error.retryable:
                await self._give_back(taken, log)
                raise
            log.conclude(f"Build failed ({error.code}): {error.message}")
            await log.stop()
            return await self._finish_failed(taken, error)
        except BaseException:
            # A shutdown or a fault of ours: the next builder need not wait for the lease's end.
            await self._give_back(taken, log)
            raise
        finally:
            await log.stop()
        failpoints.reach(Failpoint.BUILD_STORED)
        return await self._finish_succeeded(taken, result)

    async def _take(self, build_id: str) -> Taken | Outcome:
        async with self._work.transaction() as tx:
            build = await build_lock(tx.session, build_id)
            now = clock.now()
            if build is None or terminal(build.state):
                return Done()
            if build.lease_until is not None and build.lease_until > now:
                return Later((build.lease_until - now).total_seconds(), "another builder has it")
            build.lease_token = ids.token()
            build.lease_until = now + _LEASE
            if build.state is BuildState.QUEUED:
                build.state = BuildState.RUNNING
                build.started_at = now
                _emit(
                    tx,
                    build,
                    facts.BuildStarted(build_id=build.id, deployment_id=build.deployment_id),
                )
            last_line = await build_logs_last(tx.session, build.id)
            return Taken(build, build.lease_token, last_line)

    async def _run(self, taken: Taken, log: LogWriter) -> BuildResult:
        """Run the pipeline while the lease lasts; losing it ends the pipeline."""
        build = taken.build
        request = BuildRequest(
            build_id=build.id,
            clone_url=build.clone_url,
            commit_sha=build.commit_sha,
            root_directory=build.root_directory,
            project_id=build.project_id,
        )
        running = spawn(self._pipeline.build(request, log.write), f"build-{build.id}")
        keeping = spawn(self._keep_lease(taken), f"lease-{build.id}")
        try:
            await asyncio.wait({running, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                keeping.result()
            result: BuildResult = await running
            return result
        finally:
            await cancel(running, keeping)

    async def _keep_lease(self, taken: Taken) -> None:
        while True:
            await clock.sleep(_RENEW_SECONDS)
            try:
                async with self._work.transaction() as tx:
                    held = await build_renew(
                        tx.session,
                        taken.build.id,
                        token=taken.token,
                        until=clock.now() + _LEASE,
                    )
            except ZeitworkError as error:
                # Three more tries fit into the lease; the token guards the result anyway.
                _log.warning("lease not renewed", build_id=taken.build.id, code=error.code)
                continue
            if not held:
                raise LeaseLost("the build was cancelled or taken over")

    async def _finish_succeeded(self, taken: Taken, result: BuildResult) -> Outcome:
        async with self._work.transaction() as tx:
            build = await self._held(tx, taken)
            if build is None:
                return Drop("the build was cancelled or taken over")
            artifact_id = await artifact_upsert(
                tx.session,
                build,
                digest=result.blob.digest,
                size=result.blob.size,
                manifest=result.manifest.model_dump(mode="json"),
            )
            build.state = BuildState.SUCCEEDED
            build.finished_at = clock.now()
            started = build.started_at or build.finished_at
            _emit(
                tx,
                build,
                facts.BuildSucceeded(
                    build_id=build.id,
                    deployment_id=build.deployment_id,
                    artifact_id=artifact_id,
                    seconds=(build.finished_at - started).total_seconds(),
                ),
            )
        return Done()

    async def _finish_failed(self, taken: Taken, error: ZeitworkError) -> Outcome:
        async with self._work.transaction() as tx:
            build = await self._held(tx, taken)
            if build is None:
                return Drop("the build was cancelled or taken over")
            build.state = BuildState.FAILED
            build.finished_at = clock.now()
            build.error_code, build.error_detail = error.code, error.message
            _emit(
                tx,
                build,
                facts.BuildFailed(
                    build_id=build.id,
                    deployment_id=build.deployment_id,
                    code=error.code,
                    detail=error.message,
                ),
            )
        return Done()

    async def _give_back(self, taken: Taken, log: LogWriter) -> None:
        """Let the next builder begin; it numbers its lines behind ours, so ours come first."""
        await log.stop()
        try:
            async with self._work.transaction() as tx:
                build = await self._held(tx, taken)
                if build is not None:
                    build.lease_until = None
        except ZeitworkError as error:
            # It runs out by itself.
            _log.warning("lease not released", build_id=taken.build.id, code=error.code)

    async def _held(self, tx: Transaction, taken: Taken) -> Build | None:
        build = await build_lock(tx.session, taken.build.id)
        if build is None or build.lease_token != taken.token or terminal(build.state):
            return None
        return build


def _emit(tx: Transaction, build: Build, fact: Event) -> None:
    tx.emit(
        fact,
        subject=build.id,
        version=build.version + 1,
        organisation_id=build.organisation_id,
        project_id=build.project_id,
    )
