"""The applications under examples/, built by the pipeline and by the bare tools, cold and warm.

`python -m tests.benchmarks.samples [--rounds 5]`; needs the package indexes that the machine's
settings name. Cold: with empty caches. Warm: after a change of code alone, in a fresh checkout,
with the caches of the cold build. Bare: the same tools by hand, with a cache of their own, in a
fresh copy of the same files whose making is not counted. Asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from consumers.builds import caches, host_settings, toolchains
from tests.benchmarks import figures
from tests.support.builds import GitRepository, Workbench
from tests.support.examples import SAMPLES, Example, lock
from zeitwork import config, metrics, subprocesses

_STEPS = ("fetch", "detect", "build", "pack", "store")
_TIMEOUT_SECONDS = 300.0
_GOAL = "goal < 1.0 s more, warm"


@dataclass
class Times:
    """Seconds of each build of one sample."""

    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    steps: Counter[str] = field(default_factory=Counter)

    def line(self, label: str, note: str = "") -> None:
        ours = statistics.median(self.ours)
        text = f"{ours:.2f} s, nothing to do by hand"
        if self.bare:
            bare = statistics.median(self.bare)
            text = f"{ours:.2f} s, bare {bare:.2f} s ({ours / bare:.1f} x), {ours - bare:+.2f} s"
        figures.line(label, text, note)


async def sample(example: Example, directory: Path, *, rounds: int) -> None:
    """Print the figures of one application."""
    repository = GitRepository(directory / "repository")
    example.copy(repository.path)
    if example.name == "fastapi":
        reason = await lock(repository.path)
        if reason is not None:
            raise SystemExit(f"no package index answers: {reason}")
    bench = Workbench(directory / "data")
    # As in a running platform: the toolchain was asked and the sandbox tried by an earlier build.
    pipeline = bench.pipeline(timeout_seconds=_TIMEOUT_SECONDS)
    other = GitRepository(directory / "other")
    await bench.build(pipeline, other.url, other.commit(_smallest(example)))

    async def build(times: Times, sha: str) -> None:
        before = _steps()
        began = time.perf_counter()
        await bench.build(pipeline, repository.url, sha)
        times.ours.append(time.perf_counter() - began)
        times.steps.update({step: _steps()[step] - before[step] for step in _STEPS})

    async def by_hand(times: Times, name: str) -> None:
        if not example.bare:
            return
        place = directory / name
        shutil.copytree(repository.path, place, ignore=shutil.ignore_patterns(".git"))
        times.bare.append(await _by_hand(example, place, directory / "bare-cache"))
        shutil.rmtree(place)

    cold, warm = Times(), Times()
    await by_hand(cold, "cold")
    await build(cold, repository.commit({}))
    for number in range(rounds):
        sha = repository.commit(example.saying(f"change {number}"))
        await by_hand(warm, f"warm-{number}")
        await build(warm, sha)
    cold.line(f"{example.name}, cold")
    warm.line(f"{example.name}, warm", f"of {rounds}; {_GOAL}")
    whole = (f"{step} {warm.steps[step] / rounds:.3f}" for step in _STEPS)
    figures.line("", f"steps, mean: {', '.join(whole)} s")


def _smallest(example: Example) -> dict[str, str]:
    """An application of the same kind, which needs the sandbox and installs nothing."""
    return {
        "static": {"index.html": ""},
        "python": {"main.py": "", "zeitwork.toml": 'build = "true"\n'},
        "node": {"package.json": '{"scripts": {"build": "true", "start": "true"}}'},
    }[example.builder]


async def _by_hand(example: Example, place: Path, cache: Path) -> float:
    """Run the bare tools in `place`; seconds."""
    env = {
        "PATH": f"{toolchains.uv().parent}:{config.search_path()}",
        "HOME": str(place.parent / "home"),
        **host_settings.for_builds(),
        **caches.environment(cache),
    }
    began = time.perf_counter()
    for argv in example.bare:
        done = await subprocesses.run(argv, cwd=place, env=env, timeout=_TIMEOUT_SECONDS)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(argv)} failed: {done.output[-500:]}")
    return time.perf_counter() - began


def _steps() -> dict[str, float]:
    """Seconds that each step of the pipeline took so far."""
    return {
        step: metrics.REGISTRY.get_sample_value("zeitwork_build_seconds_sum", {"step": step}) or 0.0
        for step in _STEPS
    }


async def _main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="zeitwork-bench-") as folder:
        directory = Path(folder)
        figures.machine(directory)
        figures.heading("From a commit to a stored artifact, beside the bare tools")
        for example in SAMPLES:
            await sample(example, directory / example.name, rounds=options.rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    asyncio.run(_main(parser.parse_args()))
