"""One instance on this node: prepare, start or adopt, watch, restart; the agent stops it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any

from events.instances import InstanceSpec
from events.states import InstanceState
from node import logs as instance_logs
from node.artifacts import Artifacts
from node.checks import HealthChecks
from node.journal import Entry, Journal
from node.logs import LogShipper
from node.ports import Ports
from node.reconcile import restart_delay
from node.reporter import Report, Reporter
from node.runtimes.base import Handle, Paths, Runtime
from zeitwork import clock, context, logs, tracing
from zeitwork.errors import HealthCheckFailed, StartCommandExited, Unavailable, ZeitworkError
from zeitwork.masking import Masking
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)
_FIRST_CHECK_SECONDS = 0.03  # until it is ready: each costs one connect on the loopback
_CHECK_SECONDS = 5.0
_BAD_CHECKS = 3
_GRACE_SECONDS = 10.0
_CALM_SECONDS = 600.0  # ready for this long, an instance's restarts are forgotten
_COMMAND_CHARACTERS = 200  # of it in the report of a failure


@dataclass(frozen=True, slots=True)
class Workshop:
    """What all instances of a node share."""

    runtime: Runtime
    artifacts: Artifacts
    journal: Journal
    ports: Ports
    checks: HealthChecks
    reporter: Reporter
    variables: Callable[[str], Awaitable[dict[str, str]]]
    shipper: LogShipper
    runs: Path
    address: str


class _End(Enum):
    """How waiting for readiness ended."""

    READY = auto()
    EXITED = auto()
    SILENT = auto()


class Instance:
    """Runs one specification until `stop` or `leave`: here, one that serves visitors."""

    def __init__(self, entry: Entry, workshop: Workshop) -> None:
        self._entry = entry
        self._shop = workshop
        self._task: asyncio.Task[None] | None = None
        self._restarts = 0

    @property
    def spec(self) -> InstanceSpec:
        return self._entry.spec

    def start(self) -> None:
        self._task = spawn(self._guarded(), f"instance-{self.spec.instance_id}")

    @property
    def _command(self) -> str:
        """For people."""
        return self.spec.command[:_COMMAND_CHARACTERS]

    @property
    def _run_directory(self) -> Path:
        return self._shop.runs / self.spec.instance_id

    @contextmanager
    def _thread_of_causes(self) -> Iterator[None]:
        """What is done for the instance belongs to its deployment, whoever had it done."""
        with (
            context.bind(
                correlation_id=self.spec.correlation_id,
                causation_id=None,
                project_id=self.spec.project_id,
            ),
            tracing.resumed(self.spec.traceparent),
        ):
            yield

    async def leave(self) -> None:
        """Stop watching; the process runs on and can be adopted."""
        await cancel(self._task)

    async def halt(self) -> None:
        """End the process, but keep the journal's entry: the instance is still wanted."""
        await cancel(self._task)
        await self._end_process()
        self._save(handle=None)

    async def stop(self) -> None:
        """End it for good, leave nothing of it behind, and say so."""
        await cancel(self._task)
        with self._thread_of_causes(), tracing.span("stop instance"):
            code = await self._end_process()
            await self._shop.shipper.unwatch(self.spec.instance_id)
            await asyncio.to_thread(shutil.rmtree, self._run_directory, ignore_errors=True)
            self._shop.journal.forget(self.spec.instance_id)
            self._report(Report(InstanceState.STOPPED, exit_code=self._final(code)))

    def _final(self, code: int | None) -> int | None:
        """The exit code to report of what was stopped and ended with `code`."""
        return code

    async def _guarded(self) -> None:
        with self._thread_of_causes():
            await self._until_failed()

    async def _until_failed(self) -> None:
        try:
            await self._run()
        except ZeitworkError as error:
            await self._fail(error.code, error.message, None)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours fails this instance only
            _log.exception("instance crashed the agent's code", instance_id=self.spec.instance_id)
            await self._fail("internal_error", f"{type(error).__name__} in the node agent", None)

    async def _run(self) -> None:
        handle = await self._adopt()
        if handle is None and self._entry.ever_ready:
            self._report(Report(InstanceState.STARTING))  # nothing answers at its last address
        while True:
            with tracing.span("start instance", instance_id=self.spec.instance_id):
                if handle is None:
                    handle = await self._start_patiently()
                end = await self._until_ready(handle)
                if end is _End.READY:
                    self._save(handle=handle, ever_ready=True)
                    address = self._shop.address
                    self._report(Report(InstanceState.READY, host=address, port=handle.port))
                elif not self._entry.ever_ready:
                    await self._fail_first_start(end)
                    return
            if end is _End.READY:
                await self._serve(handle)
            # Said before it ends, so that no visitor is sent there meanwhile.
            self._report(Report(InstanceState.STARTING))
            await self._end_process()
            handle = None
            self._restarts += 1
            await clock.sleep(clock.jitter(restart_delay(self._restarts)))

    async def _adopt(self) -> Handle | None:
        handle = self._entry.handle
        if handle is None:
            return None
        if not await self._shop.runtime.adopt(handle):
            await self._shop.runtime.stop(handle, grace_seconds=0)
            return None
        if handle.port is not None:
            self._shop.ports.keep(handle.port)
        self._shop.shipper.watch(self.spec.instance_id, handle.run, masking=self._masking())
        _log.info("instance adopted", instance_id=self.spec.instance_id, pid=handle.pid)
        return handle

    async def _start_patiently(self) -> Handle:
        """Start, as soon as the control plane lets it.

        It does not fail for an outage that is not its own; a deployment has a deadline.
        """
        attempts = 0
        while True:
            try:
                return await self._start()
            except Unavailable as error:
                if not error.retryable:
                    raise
                attempts += 1
                _log.warning(
                    "instance not started yet",
                    instance_id=self.spec.instance_id,
                    code=error.code,
                    detail=error.message,
                )
            await clock.sleep(clock.jitter(restart_delay(attempts)))

    async def _start(self) -> Handle:
        spec, paths = await self._prepare()
        port = self._shop.ports.lease()
        try:
            handle = await self._shop.runtime.start(spec, paths, port=port)
        except BaseException:
            self._shop.ports.release(port)
            raise
        self._save(handle=handle)
        return handle

    async def _prepare(self) -> tuple[InstanceSpec, Paths]:
        """Everything that it needs, brought here: its specification with variables, its files."""
        spec, shop = self.spec, self._shop
        with tracing.span("fetch artifact"):
            app = await shop.artifacts.fetch(spec.artifact_digest, spec.layers)
        run = self._run_directory
        run.mkdir(parents=True, exist_ok=True)
        if self._entry.variables is None:
            self._save(variables=await shop.variables(spec.instance_id))
        shop.shipper.watch(spec.instance_id, run, masking=self._masking())
        env = {**spec.env, **(self._entry.variables or {})}
        return spec.model_copy(update={"env": env}), Paths(app=app, run=run)

    def _masking(self) -> Masking:
        return Masking((self._entry.variables or {}).values())

    async def _until_ready(self, handle: Handle) -> _End:
        """Ask until it answers, ends, or has had its time."""
        exited = spawn(self._shop.runtime.wait(handle), "instance-exit")
        try:
            deadline = clock.monotonic() + self.spec.health_timeout_seconds
            while clock.monotonic() < deadline:
                if await self._good(handle):
                    return _End.READY
                done, _ = await asyncio.wait({exited}, timeout=_FIRST_CHECK_SECONDS)
                if done:
                    return _End.EXITED
            return _End.SILENT
        finally:
            await cancel(exited)

    async def _good(self, handle: Handle) -> bool:
        path = self.spec.health_path
        return handle.port is not None and await self._shop.checks.good(handle.port, path)

    async def _serve(self, handle: Handle) -> None:
        """Return when it has ended or stopped answering."""
        since, bad = clock.monotonic(), 0
        exited = spawn(self._shop.runtime.wait(handle), "instance-exit")
        try:
            while bad < _BAD_CHECKS:
                done, _ = await asyncio.wait({exited}, timeout=clock.jitter(_CHECK_SECONDS))
                if done:
                    return
                good = await self._good(handle)
                bad = 0 if good else bad + 1
                if clock.monotonic() - since > _CALM_SECONDS:
                    self._restarts = 0
            _log.warning("instance stopped answering", instance_id=self.spec.instance_id)
        finally:
            await cancel(exited)

    def _last_words(self) -> str:
        printed = instance_logs.tail(self._run_directory, masking=self._masking())
        return f"\nIts last lines:\n{printed}" if printed else "\nIt printed nothing."

    async def _fail_first_start(self, end: _End) -> None:
        said = self._last_words()
        code = await self._end_process()
        if end is _End.EXITED:
            await self._fail(
                StartCommandExited.code,
                f"The start command `{self._command}` ended with exit "
                f"code {code} instead of serving on $PORT.{said}",
                code,
            )
            return
        await self._fail(
            HealthCheckFailed.code,
            f"GET {self.spec.health_path} on $PORT was not answered with 2xx or 3xx within "
            f"{self.spec.health_timeout_seconds:g} s.{said}",
            code,
        )

    async def _fail(self, code: str, detail: str, exit_code: int | None) -> None:
        await self._end_process()
        await self._shop.shipper.unwatch(self.spec.instance_id)
        self._report(Report(InstanceState.FAILED, code=code, detail=detail, exit_code=exit_code))

    async def _end_process(self) -> int | None:
        handle = self._entry.handle
        if handle is None:
            return None
        code = await self._shop.runtime.stop(handle, grace_seconds=_GRACE_SECONDS)
        if handle.port is not None:
            self._shop.ports.release(handle.port)
        self._save(handle=None)
        return code

    def _save(self, **news: Any) -> None:
        """Note the process, and what has become known besides: fields of the entry."""
        self._entry = self._entry.model_copy(update=news)
        self._shop.journal.save(self._entry)

    def _report(self, report: Report) -> None:
        self._shop.reporter.report(self.spec, report)
