"""Programs: bounded in time and output, and nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from zeitwork import subprocesses
from zeitwork.errors import HostUnsupported, ProgramFailed, TimedOut


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def runs(pid: int) -> bool:
    """False for a process that is gone or only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_both_streams_and_the_code_are_kept() -> None:
    done = await subprocesses.run(
        python("import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)"),
        timeout=30,
    )
    assert done.returncode == 3
    assert done.output.splitlines() == ["out", "err"]


async def test_lines_come_as_they_are_written() -> None:
    seen: list[str] = []
    first = asyncio.Event()

    async def on_line(line: str) -> None:
        seen.append(line)
        first.set()

    code = "print('one', flush=True); input_ = open('/proc/self/status').read(); print('two')"
    await subprocesses.run(python(code), timeout=30, on_line=on_line)
    assert first.is_set()
    assert seen == ["one", "two"]


async def test_a_plain_function_may_take_lines_too() -> None:
    seen: list[str] = []
    await subprocesses.run(python("print('a\\r\\nb')"), timeout=30, on_line=seen.append)
    assert seen == ["a", "b"]


async def test_output_is_bounded_and_lines_go_on() -> None:
    count = 0

    def on_line(_line: str) -> None:
        nonlocal count
        count += 1

    done = await subprocesses.run(
        python("for n in range(5000): print('x' * 99)"),
        timeout=30,
        on_line=on_line,
        max_output=10_000,
    )
    assert count == 5000
    assert len(done.output) <= 10_100


async def test_a_line_without_an_end_comes_in_pieces_and_any_bytes_are_text() -> None:
    lines: list[str] = []
    await subprocesses.run(
        python("import sys; sys.stdout.buffer.write(b'\\xff\\n' + b'x' * 100_000)"),
        timeout=30,
        on_line=lines.append,
    )
    assert lines[0] == "\N{REPLACEMENT CHARACTER}"
    assert all(len(line) <= 32 * 1024 for line in lines)
    assert "".join(lines[1:]) == "x" * 100_000


async def test_a_time_out_kills_the_whole_tree() -> None:
    seen: list[str] = []
    with pytest.raises(TimedOut, match="did not end within"):
        await subprocesses.run(
            ["sh", "-c", "sleep 600 & echo $$ $!; wait"], timeout=1, on_line=seen.append
        )
    leader, child = (int(pid) for pid in seen[0].split())
    assert not runs(leader)
    await eventually(lambda: not runs(child))


async def test_a_cancelled_run_leaves_nothing() -> None:
    started = asyncio.Event()
    seen: list[str] = []

    def on_line(line: str) -> None:
        seen.append(line)
        started.set()

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    task = asyncio.ensure_future(subprocesses.run(python(code), timeout=60, on_line=on_line))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not runs(int(seen[0]))


async def test_children_that_outlive_their_leader_are_killed() -> None:
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(child.pid)\n"
    )
    done = await subprocesses.run(python(code), timeout=30)
    child = int(done.output)
    await eventually(lambda: not runs(child))


async def test_directory_and_environment_are_what_was_asked(tmp_path: Path) -> None:
    done = await subprocesses.run(
        python("import os; print(os.getcwd(), sorted(os.environ.items()))"),
        timeout=30,
        cwd=tmp_path,
        env={"ONLY": "this", "LC_CTYPE": "C.UTF-8"},
    )
    assert done.output == f"{tmp_path} [('LC_CTYPE', 'C.UTF-8'), ('ONLY', 'this')]"


async def test_stdin_is_empty() -> None:
    done = await subprocesses.run(python("print(repr(input and open(0).read()))"), timeout=30)
    assert done.output == "''"


async def test_only_named_descriptors_are_inherited() -> None:
    read, write = os.pipe()
    hidden = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(hidden, True)  # noqa: FBT003 - the function's own signature
    try:
        done = await subprocesses.run(
            python(f"import os; os.write({write}, b'x'); os.fstat({hidden})"),
            timeout=30,
            pass_fds=[write],
        )
        assert os.read(read, 1) == b"x"
        assert "Bad file descriptor" in done.output
    finally:
        for descriptor in (read, write, hidden):
            os.close(descriptor)


@pytest.mark.parametrize("program", ["/no/such/program", "/etc/passwd"])
async def test_a_program_that_cannot_be_executed_is_named(program: str) -> None:
    with pytest.raises(HostUnsupported, match=program):
        await subprocesses.run([program], timeout=5)


async def test_check_gives_the_output_or_the_reason() -> None:
    assert await subprocesses.check(python("print('fine')"), timeout=30) == "fine"
    with pytest.raises(ProgramFailed, match=r"ended with 1: .*this is why") as caught:
        await subprocesses.check(python("raise SystemExit('x' * 5000 + 'this is why')"), timeout=30)
    assert len(str(caught.value)) < 2200


async def test_stop_asks_first() -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = await subprocesses.start(python(code), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    assert await subprocesses.stop(process, grace=30) == 7


async def test_stop_kills_what_does_not_listen() -> None:
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "time.sleep(600)\n"
    )
    process = await subprocesses.start(python(code), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    assert await subprocesses.stop(process, grace=0.05) == -9
    assert await subprocesses.stop(process, grace=0.05) == -9


async def test_a_detached_program_is_its_own_leader_and_writes_where_it_was_told(
    tmp_path: Path,
) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        pid = subprocesses.detach(
            python("import os; print(os.getpid() == os.getsid(0))"),
            env={},
            output_fd=file.fileno(),
        )
    async with asyncio.timeout(30):
        await subprocesses.ended(pid)
    os.waitpid(pid, 0)
    assert output.read_text() == "True\n"
    async with asyncio.timeout(5):
        await subprocesses.ended(pid)  # long gone
