"""A consumer runtime under test: a durable of the test's own, and handlers that tell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

from consumers.binding import Binding, Handler
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from events import builds, subjects
from events.bus import Message, Stored
from events.envelope import Envelope, wrap
from events.event import Event
from events.nats_bus import NatsBus
from events.streams import Durable
from events.topology import provision_url
from zeitwork import ids


class World:
    """A project of the test's own with a durable for its facts, and a bus to look at both."""

    def __init__(self, url: str, bus: NatsBus) -> None:
        self.url = url
        self.bus = bus
        self.project = f"prj-{ids.token(9)}"
        name = f"t-{ids.token(9)}"
        self.durable = Durable(
            name,
            "of a test",
            "ZW_EVENTS",
            (subjects.facts(builds.BuildStarted, project=self.project),),
            ack_wait=30.0,
            attempts=3,
            delays=(0.05, 0.1),
        )

    def message(self, number: int = 0, event: Event | None = None) -> Message:
        build = f"bld-{number}"
        fact = event or builds.BuildStarted(build_id=build, deployment_id="dep")
        envelope = wrap(fact, subject=build, source="test", project_id=self.project)
        return Message.of(envelope, subjects.of(envelope, job_class="preview"))

    async def publish(self, count: int = 1) -> list[Message]:
        messages = [self.message(number) for number in range(count)]
        await self.bus.publish(messages)
        return messages

    @asynccontextmanager
    async def running(
        self, handler: Handler, *, durable: Durable | None = None, **options: Any
    ) -> AsyncIterator[ConsumerRuntime]:
        chosen = durable or self.durable
        graceful_seconds = options.pop("graceful_seconds", 5.0)
        handlers: Mapping[type[Event], Handler] = {
            builds.BuildStarted: handler,
            builds.BuildRequested: handler,
        }
        binding = Binding(chosen, handlers, **options)
        runtime = ConsumerRuntime(self.url, [binding], graceful_seconds=graceful_seconds)
        try:
            await runtime.start()
            yield runtime
        finally:
            await runtime.stop()

    async def dead_letter(self, durable: Durable | None = None) -> Stored:
        """The durable's first dead letter, as soon as it is there."""
        chosen = durable or self.durable
        subject = subjects.dead_letter(chosen.stream, chosen.name, "*")
        async with (
            asyncio.timeout(20),
            self.bus.follow("ZW_DLQ", subject, after=0) as letters,
        ):
            return await anext(letters)

    async def nothing_buried(self) -> bool:
        subject = subjects.dead_letter(self.durable.stream, self.durable.name, "*")
        return await self.holds_nothing("ZW_DLQ", subject)

    async def settled(self) -> bool:
        """True when the durable has nothing to do."""
        js = self.bus.jetstream
        info = await js.consumer_info(self.durable.stream, self.durable.name)
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    async def wait_settled(self) -> None:
        await until(self.settled)

    async def holds_nothing(self, stream: str, subject: str) -> bool:
        info = await self.bus.jetstream.stream_info(stream, subjects_filter=subject)
        return not info.state.subjects


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    await provision_url(nats_url, durables=[])
    async with world_on(nats_url) as found:
        yield found


@asynccontextmanager
async def world_on(url: str) -> AsyncIterator[World]:
    bus = NatsBus(url, name="test")
    await bus.start()
    try:
        yield World(url, bus)
    finally:
        await bus.stop()


class Calls:
    """A handler that notes its calls; `answers` are given in turn, the last one for ever."""

    def __init__(self, *answers: Outcome | Exception) -> None:
        self.envelopes: list[Envelope] = []
        self._answers = answers or (Done(),)

    async def __call__(self, envelope: Envelope) -> Outcome:
        answer = self._answers[min(len(self.envelopes), len(self._answers) - 1)]
        self.envelopes.append(envelope)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Held:
    """A handler that waits until it is released."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.calls = 0
        self.cancelled = 0

    async def __call__(self, _envelope: Envelope) -> Outcome:
        self.calls += 1
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return Done()


async def until(check: Callable[[], Awaitable[bool]], *, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.02)


async def within(awaitable: Awaitable[Any], seconds: float = 20) -> Any:
    return await asyncio.wait_for(awaitable, seconds)
