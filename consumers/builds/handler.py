"""A build request → the next build of the queue → an artifact, under one builder's lease.

The lease's token is checked before each side effect, so that a builder that was taken for dead
changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from consumers.builds.claims import LEASE, Claims, Place, Taken, emit, end_failed
from consumers.builds.log_writer import LogWriter
from consumers.builds.pipeline import BuildRequest, BuildResult, Pipeline
from consumers.outcomes import Done, Drop, Later, Outcome
from db.queries.builds import artifact_upsert
from db.queries.variables import variables_pinned
from db.session import UnitOfWork
from events import builds as facts
from events.bus import Bus
from events.envelope import Envelope
from events.states import BuildState
from events.variables import VariablePhase
from zeitwork import clock, failpoints, logs
from zeitwork.errors import Conflict, ZeitworkError
from zeitwork.failpoints import Failpoint
from zeitwork.masking import Masking
from zeitwork.sealing import KeyRing
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)
_RENEW_SECONDS = 10.0


class LeaseLost(Conflict):
    """Another builder took the build, or it was cancelled; its result is not wanted."""

    code = "build_lease_lost"


class Builder:
    """Handles build requests; the runtime calls it for as many at once as there are slots."""

    def __init__(
        self,
        *,
        work: UnitOfWork,
        bus: Bus,
        pipeline: Pipeline,
        place: Place = Place(),  # noqa: B008 - frozen
        keys: KeyRing | None = None,
    ) -> None:
        self._work = work
        self._bus = bus
        self._pipeline = pipeline
        self._claims = Claims(work, place)
        self._keys = keys or KeyRing([])
        self._doubts: dict[str, asyncio.Event] = {}

    async def build_requested(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, facts.BuildRequested)  # noqa: S101 - bound so by the registry
        taken = await self._claims.take(event.build_id)
        if not isinstance(taken, Taken):
            return taken
        with taken.bound(event.build_id):
            outcome = await self._build(taken)
        await self._claims.ask_next()
        return outcome

    def doubt(self, build_id: str) -> None:
        """Look at once whether a build that runs here is still wanted."""
        if build_id in self._doubts:
            self._doubts[build_id].set()

    async def _build(self, taken: Taken) -> Outcome:
        failpoints.reach(Failpoint.BUILD_TAKEN)
        log = LogWriter(
            taken.build,
            token=taken.token,
            work=self._work,
            bus=self._bus,
            last_line=taken.thread.last_line,
        )
        await log.start()
        masking = Masking()
        try:
            variables = await self._variables(taken)
            masking = Masking(variables.values())
            result = await self._run(taken, log, variables=variables, masking=masking)
        except LeaseLost as error:
            _log.info("build abandoned", build_id=taken.build.id, code=error.code)
            return Drop(error.message)
        except Conflict as error:
            # A builder that was taken for dead still holds this machine's directory.
            await self._give_back(taken, log, interrupted=True)
            return Later(LEASE.total_seconds(), error.message)
        except ZeitworkError as error:
            if error.retryable:
                await self._give_back(taken, log, interrupted=False)
                raise
            detail = masking.redact(error.message)
            log.conclude(f"Build failed ({error.code}): {detail}")
            await log.stop()
            return await self._finish_failed(taken, error.code, detail)
        except asyncio.CancelledError:
            # A shutdown: the next builder need not wait for the lease's end.
            await self._give_back(taken, log, interrupted=True)
            raise
        except BaseException:
            await self._give_back(taken, log, interrupted=False)
            raise
        finally:
            await log.stop()
        failpoints.reach(Failpoint.BUILD_STORED)
        outcome = await self._finish_succeeded(taken, result)
        failpoints.reach(Failpoint.BUILD_RECORDED)
        return outcome

    async def _variables(self, taken: Taken) -> Mapping[str, str]:
        """Those of the build's deployment that are meant for builds."""
        async with self._work.database.read() as session:
            return await variables_pinned(
                session,
                taken.build.deployment_id,
                phase=VariablePhase.BUILD,
                keys=self._keys,
            )

    async def _run(
        self, taken: Taken, log: LogWriter, *, variables: Mapping[str, str], masking: Masking
    ) -> BuildResult:
        """Run the pipeline while the lease lasts; losing it ends the pipeline."""
        build = taken.build
        request = BuildRequest(
            build_id=build.id,
            clone_url=build.clone_url,
            commit_sha=build.commit_sha,
            root_directory=build.root_directory,
            variables=variables,
            masking=masking,
            project_id=build.project_id,
            trusted=taken.thread.trusted,
        )
        doubt = self._doubts[build.id] = asyncio.Event()
        running = spawn(self._pipeline.build(request, log.write), f"build-{build.id}")
        keeping = spawn(self._keep_lease(taken, doubt), f"lease-{build.id}")
        try:
            await asyncio.wait({running, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                keeping.result()
            result: BuildResult = await running
            return result
        finally:
            await cancel(running, keeping)
            del self._doubts[build.id]

    async def _keep_lease(self, taken: Taken, doubt: asyncio.Event) -> None:
        while True:
            await _either(doubt, _RENEW_SECONDS)
            try:
                held = await self._claims.renew(taken)
            except ZeitworkError as error:
                # Three more tries fit into the lease; the token guards the result anyway.
                _log.warning("lease not renewed", build_id=taken.build.id, code=error.code)
                continue
            if not held:
                raise LeaseLost("the build was cancelled or taken over")

    async def _finish_succeeded(self, taken: Taken, result: BuildResult) -> Outcome:
        async with self._work.transaction() as tx:
            build = await self._claims.held(tx, taken)
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
            succeeded = facts.BuildSucceeded(
                build_id=build.id,
                deployment_id=build.deployment_id,
                artifact_id=artifact_id,
                seconds=(build.finished_at - started).total_seconds(),
            )
            emit(tx, build, succeeded)
        return Done()

    async def _finish_failed(self, taken: Taken, code: str, detail: str) -> Outcome:
        async with self._work.transaction() as tx:
            build = await self._claims.held(tx, taken)
            if build is None:
                return Drop("the build was cancelled or taken over")
            end_failed(tx, build, code=code, detail=detail)
        return Done()

    async def _give_back(self, taken: Taken, log: LogWriter, *, interrupted: bool) -> None:
        """The next builder numbers its lines behind ours, so ours come first."""
        await log.stop()
        await self._claims.give_back(taken, interrupted=interrupted)


async def _either(doubt: asyncio.Event, seconds: float) -> None:
    """Return after `seconds`, or at once when there is a doubt."""
    pausing = spawn(clock.sleep(seconds), "lease-pause")
    doubting = spawn(doubt.wait(), "lease-doubt")
    try:
        await asyncio.wait({pausing, doubting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel(pausing, doubting)
    doubt.clear()
