"""A deployment's release command on this node: run once, to its end, whatever becomes of the agent.

That it begins is noted before it does. An agent that finds the note but no process and no exit code
cannot know how it ended; then it says so, and never runs it again.
"""

from __future__ import annotations

import asyncio
from typing import Final

from typing_extensions import override

from events.states import InstanceState
from node.instance import Instance
from node.reporter import Report
from node.runtimes.base import Handle
from zeitwork import clock, logs, tracing
from zeitwork.errors import ReleaseFailed, ReleaseLost, ReleaseTimedOut

_log = logs.get(__name__)
_DEFAULT_SECONDS: Final = 600
_ADVICE = "The version before keeps serving."


class Release(Instance):
    """Runs one release command; its exit code 0 is reported as `stopped`, all else as `failed`."""

    @override
    async def _run(self) -> None:
        with tracing.span("run release command", instance_id=self.spec.instance_id):
            if self._entry.exit_code is None:
                await self._await_end(await self._begun())
            code = self._entry.exit_code
            if code == 0:
                await self._end_process()
                await self._shop.shipper.unwatch(self.spec.instance_id)
                self._report(Report(InstanceState.STOPPED, exit_code=code))
            elif code is not None:
                await self._fail(
                    ReleaseFailed.code,
                    f"The release command `{self._command}` ended with exit code {code}. {_ADVICE}"
                    f"{self._last_words()}\nCorrect what it complains of, and deploy again.",
                    code,
                )

    @override
    async def _start(self) -> Handle:
        spec, paths = await self._prepare()
        if not self._shop.journal.attempt(spec.instance_id):
            raise ReleaseLost(
                f"The release command `{self._command}` was started, but the node's agent was "
                f"interrupted before it saw how it ended: it is not known whether it finished. "
                f"{_ADVICE} Look at what the command works on, run it by hand if need be, and "
                "deploy again."
            )
        started_at = clock.now()
        handle = await self._shop.runtime.start(spec, paths, port=None)
        self._save(handle=handle, started_at=started_at)
        return handle

    @override
    def _final(self, code: int | None) -> int | None:
        """Only what ended by itself ended well: a command that is stopped may say 0 as well."""
        return self._entry.exit_code

    async def _begun(self) -> Handle:
        """The command's process: that of an earlier agent, running or not, or a new one."""
        handle = self._entry.handle
        if handle is None:
            handle = await self._start_patiently()
        else:
            runs = await self._shop.runtime.adopt(handle)
            self._shop.shipper.watch(self.spec.instance_id, handle.run, masking=self._masking())
            _log.info("release adopted", instance_id=self.spec.instance_id, runs=runs)
        self._report(Report(InstanceState.STARTING))
        return handle

    async def _await_end(self, handle: Handle) -> None:
        """Wait for the exit code and note it; without one, fail."""
        try:
            async with asyncio.timeout(self._seconds_left()):
                code = await self._shop.runtime.wait(handle)
        except TimeoutError:
            await self._fail_overdue()
            return
        if code is None:
            raise ReleaseLost(
                f"The release command `{self._command}` has ended, but nobody saw its exit code: "
                f"it is not known whether it finished. {_ADVICE} Look at what the command works "
                "on, run it by hand if need be, and deploy again."
            )
        self._save(exit_code=code)

    async def _fail_overdue(self) -> None:
        code = await self._end_process()
        await self._fail(
            ReleaseTimedOut.code,
            f"The release command `{self._command}` did not end within {self._limit_seconds} s and "
            f"was stopped. {_ADVICE}{self._last_words()}\nMake it shorter, or raise "
            "release_timeout_seconds in zeitwork.toml, and deploy again.",
            code,
        )

    @property
    def _limit_seconds(self) -> int:
        return self.spec.limit_seconds or _DEFAULT_SECONDS

    def _seconds_left(self) -> float:
        """Of its time, which runs on while no agent looks."""
        started_at = self._entry.started_at or clock.now()
        return max(0.0, self._limit_seconds - (clock.now() - started_at).total_seconds())
