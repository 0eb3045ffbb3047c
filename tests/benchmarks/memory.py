"""Memory of the API and the consumers while pushes pass through both."""

from __future__ import annotations

import asyncio

import psutil

from events.streams import EVENTS, GITHUB
from tests.benchmarks import facts, figures
from tests.benchmarks.stage import Stage
from tests.benchmarks.webhooks import PATH, Answers, Target

_QUARTERS = 4
_CONNECTIONS = 16
_QUARTER_SECONDS = 900.0
_MIB = 1024 * 1024


async def measure(stage: Stage, *, events: int) -> None:
    """Print resident memory at the start, after each quarter of the events, and at the end.

    A push of an unknown repository is two transactions and one event; it is written, relayed,
    delivered and handled like any other.
    """
    figures.heading(f"6. Memory over {events} pushes through API and consumers")
    async with (
        facts.connected(stage.nats_url) as bus,
        stage.api() as (api, port),
        stage.consumers() as consumers,
    ):
        pids = {"api": api.pid, "consumers": consumers.pid}
        answers = Answers()
        memory = [_resident(pids)]
        _print("before the first", memory, answers)
        for quarter in range(1, _QUARTERS + 1):
            await Target(port, PATH).load(
                answers,
                connections=_CONNECTIONS,
                seconds=_QUARTER_SECONDS,
                most=events // _QUARTERS,
            )
            async with asyncio.timeout(_QUARTER_SECONDS):
                while await facts.pending(bus, EVENTS.name, GITHUB.name):
                    await asyncio.sleep(0.5)
            memory.append(_resident(pids))
            _print(f"after {quarter} of {_QUARTERS} quarters", memory, answers)
    # The first quarter fills pools and caches, so growth is what comes after it.
    for name in pids:
        grown = memory[-1][name] / memory[1][name] - 1
        figures.line(f"{name}, last quarter against the first", f"{grown:+.1%}", "goal: flat")


def _resident(pids: dict[str, int | None]) -> dict[str, float]:
    return {name: psutil.Process(pid).memory_info().rss / _MIB for name, pid in pids.items()}


def _print(label: str, memory: list[dict[str, float]], answers: Answers) -> None:
    sizes = ", ".join(f"{name} {size:.1f} MiB" for name, size in memory[-1].items())
    figures.line(label, sizes, f"accepted {answers.accepted}" if answers.accepted else "")
