"""The life cycle: order, failures, and the end of a process."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest
from typing_extensions import override

from tests.support.eventually import eventually
from zeitwork.service import Service, Supervisor, Worker, cancel, spawn


class Part:
    """A service that notes what happens to it."""

    def __init__(self, name: str, journal: list[str], *, fails: str = "") -> None:
        self.name = name
        self.reason: str | None = None
        self._journal = journal
        self._fails = fails

    async def start(self) -> None:
        await self._note("start")

    async def ready(self) -> str | None:
        return self.reason

    async def stop(self) -> None:
        await self._note("stop")

    async def _note(self, what: str) -> None:
        self._journal.append(f"{what} {self.name}")
        await asyncio.sleep(0)
        if what == self._fails:
            raise RuntimeError(f"{what} of {self.name} fails")


class Crashing(Worker):
    """Ends by itself when told."""

    name = "crashing"

    def __init__(self) -> None:
        super().__init__()
        self.fail = asyncio.Event()

    @override
    async def run(self) -> None:
        await self.fail.wait()
        raise RuntimeError("as told")


async def test_services_start_in_order_and_stop_in_reverse() -> None:
    journal: list[str] = []
    supervisor = Supervisor([Part("a", journal), Part("b", journal), Part("c", journal)])
    await supervisor.start()
    await supervisor.stop()
    assert journal == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


async def test_a_failed_start_stops_what_was_begun() -> None:
    journal: list[str] = []
    parts: list[Service] = [
        Part("a", journal),
        Part("b", journal, fails="start"),
        Part("c", journal),
    ]
    with pytest.raises(RuntimeError, match="start of b fails"):
        await Supervisor(parts).start()
    assert journal == ["start a", "start b", "stop b", "stop a"]


async def test_a_failed_stop_does_not_keep_the_others() -> None:
    journal: list[str] = []
    supervisor = Supervisor([Part("a", journal), Part("b", journal, fails="stop")])
    await supervisor.start()
    await supervisor.stop()
    assert journal[-1] == "stop a"


async def test_a_second_stop_does_nothing() -> None:
    journal: list[str] = []
    supervisor = Supervisor([Part("a", journal)])
    await supervisor.stop()
    await supervisor.start()
    await supervisor.stop()
    await supervisor.stop()
    assert journal == ["start a", "stop a"]


async def test_readiness_names_the_first_reason() -> None:
    parts = [Part("a", []), Part("b", [])]
    supervisor = Supervisor(parts)
    assert await supervisor.ready() == "starting"
    await supervisor.start()
    assert await supervisor.ready() is None
    parts[1].reason = "no database"
    assert await supervisor.ready() == "b: no database"
    await supervisor.stop()


async def test_a_request_ends_the_process_well() -> None:
    journal: list[str] = []
    supervisor = Supervisor([Part("a", journal)])
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: journal == ["start a"])
    supervisor.request_stop()
    assert await running == 0
    assert journal == ["start a", "stop a"]


async def test_a_signal_ends_the_process_well() -> None:
    journal: list[str] = []
    running = asyncio.ensure_future(Supervisor([Part("a", journal)]).run())
    try:
        await eventually(lambda: journal == ["start a"])
        os.kill(os.getpid(), signal.SIGTERM)
        assert await running == 0
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().remove_signal_handler(number)
    assert journal == ["start a", "stop a"]


async def test_a_crash_ends_the_process_with_an_error() -> None:
    journal: list[str] = []
    worker = Crashing()
    running = asyncio.ensure_future(Supervisor([Part("a", journal), worker]).run())
    await eventually(lambda: journal == ["start a"])
    worker.fail.set()
    assert await running == 1
    assert journal == ["start a", "stop a"]


async def test_a_worker_is_ready_until_it_crashes() -> None:
    worker = Crashing()
    assert await worker.ready() == "not started"
    await worker.start()
    assert await worker.ready() is None
    worker.fail.set()
    await worker.crashed.wait()
    assert await worker.ready() == "crashed"
    await worker.stop()


async def test_a_stopped_worker_has_not_crashed() -> None:
    worker = Crashing()
    await worker.start()
    await worker.stop()
    assert not worker.crashed.is_set()


async def test_cancel_waits_for_the_end_and_swallows_failures() -> None:
    journal: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            journal.append("cleaned up")

    async def failing() -> None:
        raise RuntimeError("seen by its owner")

    tasks = [spawn(stubborn(), "stubborn"), spawn(failing(), "failing")]
    await asyncio.sleep(0)
    await cancel(*tasks, None)
    assert journal == ["cleaned up"]
    assert all(task.done() for task in tasks)
    assert tasks[0].get_name() == "stubborn"
