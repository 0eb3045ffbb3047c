"""Webhook's 202 → first 200 of the new version, start-up time, and memory at rest.

`python -m tests.benchmarks.push_to_live [--pushes 20]`; of the applications under examples/, those
that install something need the package indexes that the machine's settings name.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import platform as host
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from cli.platform_file import load
from tests.support.builds import GitRepository
from tests.support.examples import FIRST, INSTALLED, Example, lock
from tests.support.platform import PlatformProcess, running
from tests.support.pushes import deliver, push_body

_DEADLINE_SECONDS = 120.0
_POLL_SECONDS = 0.005
_MIB = 1024 * 1024
_SETTLE_SECONDS = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pushes", type=int, default=20)
    pushes = parser.parse_args().pushes
    print(f"{host.platform()}, Python {host.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        with running(Path(directory) / "data") as process:
            print(f"zeitwork up, empty data → all services ready: {_since(began):.2f} s")
            time.sleep(_SETTLE_SECONDS)
            _memory(process, "idle, nothing deployed")
            for example in FIRST[:2]:
                _print(example, _pushes(process, Path(directory), example, pushes))
            time.sleep(_SETTLE_SECONDS)
            _memory(process, "idle, two applications deployed")
            for example in (*FIRST[2:], *INSTALLED):
                _print(example, _pushes(process, Path(directory), example, pushes))
            began = time.perf_counter()
            process.stop()
            print(f"Ctrl-C → all stopped: {_since(began):.2f} s")
        began = time.perf_counter()
        with running(Path(directory) / "data") as process:
            print(f"zeitwork up, same data → all services ready: {_since(began):.2f} s")
            _until(process, "bench-python-plain", f"push {pushes}")
            print(f"zeitwork up, same data → application serves: {_since(began):.2f} s")
            process.stop()


def _pushes(process: PlatformProcess, directory: Path, example: Example, count: int) -> list[float]:
    """Seconds of the first push, which fills caches, and of those that change code alone."""
    slug, repo = f"bench-{example.name}", f"bench/{example.name}"
    repository = GitRepository(directory / slug)
    example.copy(repository.path)
    if example.name == "fastapi":
        reason = asyncio.run(lock(repository.path))
        assert reason is None, reason
    done = process.run("projects", "create", slug, "--repo", repo, "--clone-url", repository.url)
    assert done.code == 0, done.err
    platform = load(process.data)
    assert platform is not None
    times = []
    for number in range(count + 1):
        text = f"push {number}"
        sha = repository.commit(example.saying(text))
        body = push_body(repo, sha, repository.url)
        answer = deliver(process.api_url, platform.webhook_secret, body)
        assert answer.status == 202, answer.body
        began = time.perf_counter()
        _until(process, slug, text)
        times.append(_since(began))
    return times


def _until(process: PlatformProcess, slug: str, text: str) -> None:
    """Poll one keep-alive connection every 5 ms until the page says `text`."""
    address = urlsplit(process.proxy_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    deadline = time.perf_counter() + _DEADLINE_SECONDS
    try:
        while time.perf_counter() < deadline:
            connection.request("GET", "/", headers={"Host": f"{slug}.localhost"})
            answer = connection.getresponse()
            if text in answer.read().decode() and answer.status == http.client.OK:
                return
            time.sleep(_POLL_SECONDS)
    finally:
        connection.close()
    raise AssertionError(f"{slug} never said {text!r}:\n{process.log()[-3000:]}")


def _memory(process: PlatformProcess, label: str) -> None:
    everything = [
        psutil.Process(process.process.pid),
        *psutil.Process(process.process.pid).children(recursive=True),
    ]
    rss = sum(each.memory_info().rss for each in everything) / _MIB
    pss = sum(each.memory_full_info().pss for each in everything) / _MIB
    print(f"memory, {label}: RSS {rss:.0f} MiB (shared pages counted again), PSS {pss:.0f} MiB")
    for each in sorted(everything, key=lambda one: -one.memory_info().rss)[:12]:
        name = " ".join(each.cmdline())[-60:]
        print(f"  {each.memory_info().rss / _MIB:6.0f} MiB  {name}")


def _print(example: Example, times: list[float]) -> None:
    first, ordered = times[0], sorted(times[1:])
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    print(
        f"push → first 200, {example.name}: the first {first:.2f} s; {len(ordered)} more: "
        f"p50 {statistics.median(ordered):.3f} s, p95 {p95:.3f} s, max {ordered[-1]:.3f} s",
        flush=True,
    )


def _since(began: float) -> float:
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
