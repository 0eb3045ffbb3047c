from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from typing_extensions import override

from cli import data_lock, tether
from cli.child import Child
from cli.leftovers import Leftovers
from cli.log_files import LogFile
from cli.supervision import Supervision
from tests.support.eventually import eventually
from tests.support.servers import free_port
from zeitwork import clock
from zeitwork.errors import Conflict, ProgramFailed, TimedOut

STUB = Path(__file__).parents[1] / "support" / "stub_service.py"


class HurriedClock(clock.SystemClock):
    """Real time whose long sleeps are short; it remembers what was asked for."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    @override
    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await super().sleep(min(seconds, 0.02))

    def delays(self) -> list[float]:
        """The back-offs: nothing else here waits this long."""
        return [seconds for seconds in self.asked if seconds >= 0.4]


class Stub(Child):
    """A child that runs the stub; its launches are in `marker`, its output in `lines`."""

    def __init__(self, name: str, directory: Path, *flags: str, **env: str) -> None:
        self.lines: list[str] = []
        self.marker = directory / f"{name}.pids"
        port = free_port()
        super().__init__(
            name,
            argv=[sys.executable, str(STUB), str(port), "--marker", str(self.marker), *flags],
            env={**os.environ, **env},
            ready_url=f"http://127.0.0.1:{port}/readyz",
            sink=self.lines.append,
        )
        self.grace_seconds = 5.0

    def pids(self) -> list[int]:
        return [int(line) for line in self.marker.read_text().split()]


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def hurried() -> HurriedClock:
    """Not installed: a fixture's context is not the test's."""
    return HurriedClock()


@pytest.fixture
def leftovers(tmp_path: Path) -> Leftovers:
    return Leftovers(tmp_path / "processes.json", grace_seconds=0.3)


@pytest.fixture
async def supervision(leftovers: Leftovers) -> AsyncIterator[Supervision]:
    supervision = Supervision(leftovers)
    yield supervision
    supervision.kill()
    await supervision.stop()


async def test_a_killed_child_is_started_again(
    supervision: Supervision, hurried: HurriedClock, tmp_path: Path
) -> None:
    child = Stub("api", tmp_path)
    with clock.using(hurried):
        await supervision.start(child)
        first = child.pid
        assert first is not None

        os.kill(first, signal.SIGKILL)

        await eventually(lambda: supervision.keepers[0].restarts == 1 and len(child.pids()) == 2)
        await eventually(lambda: _is_ready(child))
        assert child.pid == child.pids()[1] != first


async def test_a_killed_child_whose_own_child_holds_its_output_is_started_again(
    supervision: Supervision, hurried: HurriedClock, tmp_path: Path
) -> None:
    child = Stub("api", tmp_path, "--grandchild")
    with clock.using(hurried):
        await supervision.start(child)
        assert child.pid is not None
        [grandchild] = psutil.Process(child.pid).children()

        os.kill(child.pid, signal.SIGKILL)

        await eventually(lambda: len(child.pids()) == 2)
        assert not runs(grandchild.pid)


async def test_the_delay_grows_while_a_child_keeps_failing(
    supervision: Supervision, hurried: HurriedClock, tmp_path: Path
) -> None:
    child = Stub("api", tmp_path, "--fails-after-first")
    with clock.using(hurried):
        await supervision.start(child)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)

        await eventually(lambda: len(hurried.delays()) >= 4)

    expected = [0.5, 1.0, 2.0, 4.0]
    assert hurried.delays()[:4] == [pytest.approx(each, rel=0.11) for each in expected]
    assert supervision.keepers[0].restarts >= 3


async def test_a_child_that_cannot_start_fails_the_start_with_its_last_words(
    supervision: Supervision, leftovers: Leftovers, tmp_path: Path
) -> None:
    good = Stub("good", tmp_path)
    bad = Stub("bad", tmp_path, "--fails-after-first")
    bad.marker.write_text("1\n")

    with pytest.raises(ProgramFailed, match=r"(?s)bad ended with 1 .*cannot start again"):
        await supervision.start(good, bad)

    await supervision.stop()
    assert not any(runs(pid) for pid in good.pids() if good.marker.exists())
    assert await leftovers.end() == []


async def test_a_child_that_never_gets_ready_is_ended_and_says_why(
    supervision: Supervision, tmp_path: Path
) -> None:
    child = Stub("node", tmp_path, "--unready")
    child.ready_within_seconds = 0.5

    with pytest.raises(TimedOut, match="told so"):
        await supervision.start(child)

    assert child.pids()
    assert not any(runs(pid) for pid in child.pids())


async def test_kill_shortens_a_stop_that_waits(supervision: Supervision, tmp_path: Path) -> None:
    deaf = Stub("deaf", tmp_path, "--deaf")
    deaf.grace_seconds = 3600.0
    await supervision.start(deaf)
    stopping = asyncio.ensure_future(supervision.stop())
    await asyncio.sleep(0)
    assert not stopping.done()

    supervision.kill()

    await asyncio.wait_for(stopping, 10)
    assert not runs(deaf.pids()[0])


async def test_lines_of_any_length_reach_the_sink(tmp_path: Path) -> None:
    child = Stub("api", tmp_path, STUB_SAYS="x" * 40_000)
    await child.start()
    await child.stop()
    text = "".join(child.lines)
    assert text.count("x") == 40_000
    assert max(len(line) for line in child.lines) <= 16 * 1024


async def test_a_sink_that_fails_does_not_block_the_child(tmp_path: Path) -> None:
    child = Stub("api", tmp_path, STUB_SAYS="x" * 100_000)

    def full(_line: str) -> None:
        raise OSError("No space left on device")

    child._sink = full
    await child.start()
    assert await child.ready() is None
    await child.stop()


async def test_what_a_killed_process_left_is_found_and_ended(
    leftovers: Leftovers, tmp_path: Path
) -> None:
    pids = await _kill_a_supervisor(tmp_path, "--deaf")
    assert [runs(pid) for pid in pids] == [True, True]

    assert await leftovers.end() == ["second", "first"]

    assert [runs(pid) for pid in pids] == [False, False]
    assert await leftovers.end() == []


async def test_children_end_with_their_killed_parent(tmp_path: Path) -> None:
    if not await tether.prefix(signal.SIGTERM):
        pytest.skip("this host's setpriv cannot tie a child to its parent")

    pids = await _kill_a_supervisor(tmp_path)

    await eventually(lambda: not any(runs(pid) for pid in pids))


async def test_a_stranger_with_the_number_of_a_leftover_is_left_alone(
    leftovers: Leftovers, tmp_path: Path
) -> None:
    stranger = Stub("stranger", tmp_path)
    await stranger.start()
    try:
        assert stranger.pid is not None
        started = psutil.Process(stranger.pid).create_time()
        item = {"name": "api", "pid": stranger.pid, "started": started - 60, "signal": 9}
        (tmp_path / "processes.json").write_text(json.dumps([item]))

        assert await leftovers.end() == []

        assert await stranger.ready() is None
    finally:
        await stranger.stop()


async def test_a_directory_is_refused_while_another_process_holds_it(tmp_path: Path) -> None:
    script = (
        "import signal, sys, pathlib; from cli import data_lock\n"
        "with data_lock.held(pathlib.Path(sys.argv[1])): print('held', flush=True); signal.pause()"
    )
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert await asyncio.wait_for(holder.stdout.readline(), 20) == b"held\n"
        with pytest.raises(Conflict, match=f"process {holder.pid}"), data_lock.held(tmp_path):
            pytest.fail("held twice")
    finally:
        holder.kill()
        await holder.wait()
    with data_lock.held(tmp_path):
        assert (tmp_path / "run" / "lock").read_text() == f"{os.getpid()}\n"


async def test_a_log_file_receives_the_output_of_every_launch(
    supervision: Supervision, hurried: HurriedClock, tmp_path: Path
) -> None:
    log = LogFile(tmp_path / "logs" / "api.log")
    child = Stub("api", tmp_path)
    child._sink = log.write
    with clock.using(hurried), contextlib.closing(log):
        await supervision.start(child)
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await eventually(lambda: "launch 2" in log.path.read_text())
    assert "launch 1" in log.path.read_text()


async def _is_ready(child: Child) -> bool:
    return await child.ready() is None


def _noting(child: Child, order: list[str]) -> object:
    original = child.stop

    async def stop() -> None:
        if child.pid is not None:
            order.append(child.name)
        await original()

    return stop


_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from cli.leftovers import Leftovers
from cli.supervision import Supervision
from tests.integration.test_supervision import Stub

async def main(directory, flags):
    supervision = Supervision(Leftovers(directory / "processes.json"))
    await supervision.start(Stub("first", directory, *flags))
    await supervision.start(Stub("second", directory, *flags))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
"""


async def _kill_a_supervisor(directory: Path, *flags: str) -> list[int]:
    """SIGKILL a process that supervises two stubs, once they are ready; the stubs' pids."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SUPERVISOR, str(directory), *flags,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        assert parent.stdout is not None
        assert await asyncio.wait_for(parent.stdout.readline(), 30) == b"ready\n"
    finally:
        parent.kill()
        await parent.wait()
    names = ("first", "second")
    return [int((directory / f"{name}.pids").read_text()) for name in names]
