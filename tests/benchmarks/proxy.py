"""The edge beside other proxies, in one run: each on one core, same origin, same client (`wrk`).

`python -m tests.benchmarks.proxy [--peers DIR] [--seconds 4] [--rounds 3] [--only 1KiB,64KiB]`

The proxy under test has the first core to itself; client and origin share the second. Proxies take
turns within a round, and what is printed are medians. Requests per second of wall time say little
while others use the machine; requests per second of the proxy's own processor time are what one
core gives when nobody does, and the ratios are made of these, round by round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from tests.benchmarks import figures
from tests.benchmarks.proxy_peers import HOST, OURS, PEERS, Peer, environment, program
from tests.support.servers import free_port

_PROXY_CORE, _OTHERS_CORE = {0}, {1}
_START_SECONDS = 30.0
_POST = (
    f'wrk.method = "POST"\nwrk.body = string.rep("x", {1 << 16})\nwrk.headers["Host"] = "{HOST}"\n'
)
_LATENCY = re.compile(r"99%\s+([0-9.]+)(us|ms|s)")
_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")
_BAD = re.compile(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)")
_MILLISECONDS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True)
class Case:
    """What is asked of every proxy."""

    name: str
    path: str
    connections: int
    posts: bool = False


CASES = (
    Case("1KiB x64", "/1024", 64),
    Case("1KiB x512", "/1024", 512),
    Case("64KiB x64", "/65536", 64),
    Case("1MiB x64", "/1048576", 64),
    Case("POST 64KiB x64", "/2", 64, posts=True),
)


@dataclass(frozen=True)
class Result:
    """One run of the client."""

    rate: float
    per_cpu: float  # requests for each second of the proxy's processor time
    p99: float
    failed: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, help="an environment with wheels of other proxies")
    parser.add_argument("--seconds", type=int, default=4, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="cases whose names begin so, by commas")
    parser.add_argument("--proxies", default=",".join(each for each in PEERS if "," not in each))
    parser.add_argument("--log", action="store_true", help="also ours with its access log on")
    given = parser.parse_args()
    if program("wrk", None) is None:
        sys.exit("The client is wrk: on Debian, apt install wrk.")
    asyncio.run(_measure(given))


async def _measure(given: argparse.Namespace) -> None:
    names = given.proxies.split(",") + (["zeitwork, access log"] if given.log else [])
    wanted = tuple(given.only.split(","))
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zeitwork-edge-")))
        figures.machine(directory)
        origin = free_port()
        argv = [sys.executable, "-m", "tests.benchmarks.proxy_origin", str(origin)]
        await stack.enter_async_context(_running(Peer("origin", argv), origin, _OTHERS_CORE))
        running: dict[str, tuple[int, psutil.Process]] = {}
        for name in names:
            found = name if name in OURS else program(name, given.peers)
            if found is None:
                figures.line(name, "not on this machine")
                continue
            place, port = directory / name.split(",")[0] / str(len(running)), free_port()
            place.mkdir(parents=True)
            peer = PEERS[name](found, place, port, origin)
            running[name] = port, await stack.enter_async_context(_running(peer, port, _PROXY_CORE))
        await _idle_memory(running)
        for case in CASES:
            if case.name.startswith(wanted):
                await _case(case, running, directory, given)


async def _case(
    case: Case,
    running: dict[str, tuple[int, psutil.Process]],
    directory: Path,
    given: argparse.Namespace,
) -> None:
    results: dict[str, list[Result]] = {name: [] for name in running}
    for _ in range(given.rounds):
        for name, (port, process) in running.items():
            before = sum(process.cpu_times()[:2])
            run = await _wrk(case, port, directory, given.seconds)
            used = max(0.001, sum(process.cpu_times()[:2]) - before)
            results[name].append(replace(run, per_cpu=run.rate * given.seconds / used))
    figures.heading(f"{case.name} connections, {given.rounds} rounds of {given.seconds} s")
    for name, runs in results.items():
        rate = statistics.median(each.rate for each in runs)
        core = statistics.median(each.per_cpu for each in runs)
        p99 = statistics.median(each.p99 for each in runs)
        notes = [each.failed for each in runs if each.failed]
        for peer in ("caddy", "traefik"):
            if name.startswith("zeitwork") and peer in results:
                pairs = zip(runs, results[peer], strict=True)
                part = statistics.median(ours.per_cpu / theirs.per_cpu for ours, theirs in pairs)
                notes.append(f"{part:.2f} x {peer}")
        figures.line(
            name, f"{core:>9,.0f}/core s  {rate:>9,.0f}/s  p99 {p99:>7.1f} ms", ", ".join(notes)
        )


async def _wrk(case: Case, port: int, directory: Path, seconds: int) -> Result:
    argv = ["wrk", "-t1", f"-c{case.connections}", f"-d{seconds}s", "--latency", "--timeout", "8s"]
    if case.posts:
        script = directory / "post.lua"
        script.write_text(_POST)
        argv += ["-s", str(script)]
    argv += ["-H", f"Host: {HOST}", f"http://127.0.0.1:{port}{case.path}"]
    process = await asyncio.create_subprocess_exec(
        *argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    os.sched_setaffinity(process.pid, _OTHERS_CORE)
    async with asyncio.timeout(seconds + 30):
        text = (await process.communicate())[0].decode()
    rate, latency = _RATE.search(text), _LATENCY.search(text)
    if rate is None or latency is None:
        return Result(0.1, 0.1, 0.0, text.strip())
    bad = "; ".join(found[0] for found in _BAD.finditer(text))
    return Result(float(rate[1]), 0.0, float(latency[1]) * _MILLISECONDS[latency[2]], bad)


async def _idle_memory(running: dict[str, tuple[int, psutil.Process]], count: int = 1000) -> None:
    """What each connection costs that was used once and then is kept open."""
    figures.heading(f"memory of each of {count} idle connections")
    request = f"GET /1024 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    for name, (port, process) in running.items():
        before = process.memory_info().rss
        writers = []
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(1024)
            writers.append(writer)
        grown = process.memory_info().rss - before
        figures.line(name, f"{grown / count / 1024:.1f} KiB")
        for writer in writers:
            writer.transport.abort()


@asynccontextmanager
async def _running(peer: Peer, port: int, cores: set[int]) -> AsyncIterator[psutil.Process]:
    """The process, once it takes connections; pinned before it has threads to pin."""
    argv = ["taskset", "-c", ",".join(str(core) for core in cores), *peer.argv]
    process = await asyncio.create_subprocess_exec(
        *argv, env=environment(peer), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(_START_SECONDS):
            while not await _listens(port):
                if process.returncode is not None:
                    raise RuntimeError(f"{peer.name} ended with {process.returncode}")
                await asyncio.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


if __name__ == "__main__":
    main()
