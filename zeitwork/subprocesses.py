"""Run programs: bounded time and output, lines as they come, and no process left behind.

Every child leads a session of its own, so that a kill reaches the whole group; a sandboxed child
also leads a pid namespace, whose end takes the rest with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeitwork import clock
from zeitwork.errors import HostUnsupported, ProgramFailed, TimedOut
from zeitwork.service import cancel, spawn

OnLine = Callable[[str], Awaitable[None] | None]
_MAX_LINE_BYTES = 16 * 1024
_KILL_GRACE_SECONDS = 5.0
_PIPE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Completed:
    """How a program ended; `output` holds stdout and stderr, cut at the limit."""

    returncode: int
    output: str
    seconds: float


async def run(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: OnLine | None = None,
    on_error_line: OnLine | None = None,
    max_output: int = 1024 * 1024,
    pass_fds: Sequence[int] = (),
    also_end: Callable[[], Awaitable[None]] | None = None,
) -> Completed:
    """Run to the end; stdout and stderr are one stream, unless `on_error_line` is given.

    Args:
        timeout: seconds; then the whole tree is killed.
        on_line: called with each line without its end; lines are cut at 16 KiB. What it answers
            is awaited before more is read, so that the program has to wait too.
        on_error_line: the same for stderr; the order of lines of both is then only roughly known.
        also_end: called when the program has ended or is to be; ends what has left the group, and
            might hold the output open for ever.
        max_output: bytes kept in `Completed.output`; lines still reach `on_line` afterwards.

    Raises:
        HostUnsupported: the program does not exist.
        TimedOut: it took longer.
    """
    started = clock.monotonic()
    process = await start(
        argv,
        cwd=cwd,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if on_error_line is not None else None,
        pass_fds=pass_fds,
    )
    kept: list[str] = []
    try:
        async with asyncio.timeout(timeout):
            reading = _read_both(process, kept, (on_line, on_error_line), max_output)
            await (reading if also_end is None else _released(process, reading, also_end))
            returncode = await process.wait()
    except TimeoutError as error:
        raise TimedOut(f"{Path(argv[0]).name} did not end within {timeout:g} s") from error
    finally:
        try:
            if also_end is not None:
                await also_end()
        finally:
            await kill_tree(process)
    return Completed(returncode, "\n".join(kept), clock.monotonic() - started)


async def check(
    argv: Sequence[str],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run one of our own programs; its output.

    Raises:
        ProgramFailed: it ended with an error; the message holds the end of its output.
    """
    done = await run(argv, timeout=timeout, cwd=cwd, env=env)
    if done.returncode != 0:
        tail = done.output[-2000:].strip()
        raise ProgramFailed(f"{Path(argv[0]).name} ended with {done.returncode}: {tail}")
    return done.output


async def start(
    argv: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    pass_fds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Start a program in a session of its own; stderr joins stdout by default, stdin is empty.

    Raises:
        HostUnsupported: the program does not exist or cannot be executed.
    """
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr or (asyncio.subprocess.STDOUT if stdout is not None else None),
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            limit=_MAX_LINE_BYTES,
        )
    except (FileNotFoundError, PermissionError) as error:
        raise HostUnsupported(f"cannot run {argv[0]}: {error.strerror}") from error


async def stop(process: asyncio.subprocess.Process, *, grace: float) -> int:
    """SIGTERM to the leader, SIGKILL to the group after `grace` seconds; the exit code."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    await kill_tree(process)
    return process.returncode if process.returncode is not None else -signal.SIGKILL


async def kill_tree(process: asyncio.subprocess.Process) -> None:
    """SIGKILL to the child's whole group, and wait for the child; nothing when it has ended."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _PIPE_SECONDS)
        return
    # `wait` also waits for the end of the output, which a process that left the session may hold.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
    await asyncio.wait_for(process.wait(), _KILL_GRACE_SECONDS)


def detach(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    output_fd: int,
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start a program that may outlive this one, in a session of its own; its pid.

    Its output goes to the descriptor `output_fd`, since a pipe would break when we end. Children of
    asyncio cannot serve here: their transport kills them when the event loop goes.

    Raises:
        HostUnsupported: the program does not exist or cannot be executed.
    """
    try:
        process = subprocess.Popen(
            argv,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output_fd,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
        )
    except OSError as error:
        raise HostUnsupported(f"cannot run {argv[0]}: {error.strerror}") from error
    process.returncode = 0  # disowned: Popen would complain that it still runs
    return process.pid


async def ended(pid: int) -> None:
    """Return once the process has ended, be it a child of ours or not; it is not reaped.

    Raises:
        HostUnsupported: the kernel has no pidfd (Linux before 5.3, other systems).
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError) as error:
        raise HostUnsupported(f"cannot watch processes, which needs Linux 5.3: {error}") from error
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    try:
        loop.add_reader(descriptor, gone.set)
        await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _released(
    process: asyncio.subprocess.Process,
    reading: Coroutine[Any, Any, None],
    also_end: Callable[[], Awaitable[None]],
) -> None:
    """Read to the end of the output, which must not wait for what the program left behind."""
    reader = spawn(reading, "read-outputs")
    leaving = spawn(ended(process.pid), "program-end")
    try:
        await asyncio.wait({reader, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not reader.done():
            leaving.result()
            await also_end()
        await reader
    finally:
        await cancel(reader, leaving)


async def _read_both(
    process: asyncio.subprocess.Process,
    kept: list[str],
    on_lines: tuple[OnLine | None, OnLine | None],
    max_output: int,
) -> None:
    streams = (process.stdout, process.stderr)
    readers = [
        spawn(_read(stream, kept, on_line, max_output), "read-output")
        for stream, on_line in zip(streams, on_lines, strict=True)
        if stream is not None
    ]
    try:
        await asyncio.gather(*readers)
    finally:
        await cancel(*readers)


async def _read(
    stream: asyncio.StreamReader, kept: list[str], on_line: OnLine | None, max_output: int
) -> None:
    size = 0
    async for line in _lines(stream):
        if size < max_output:
            kept.append(line)
            size += len(line) + 1
        if on_line is not None:
            pending = on_line(line)
            if pending is not None:
                await pending


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    buffer = b""
    while chunk := await stream.read(_MAX_LINE_BYTES):
        buffer += chunk
        *whole, buffer = buffer.split(b"\n")
        if len(buffer) >= _MAX_LINE_BYTES:
            whole.append(buffer)
            buffer = b""
        for line in whole:
            # A line without an end comes in pieces; none of its bytes is lost.
            yield line.rstrip(b"\r").decode("utf-8", "replace")
    if buffer:
        yield buffer.decode("utf-8", "replace")
