"""The consumer runtime against a real server: each way in which a delivery can end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cli.embedded.nats import NatsServer
from consumers.binding import Binding, Handler
from consumers.outcomes import Done, Drop, Later, Outcome
from consumers.runtime import ConsumerRuntime
from events import builds, subjects
from events.bus import Message, Stored
from events.envelope import Envelope, unwrap, wrap
from events.event import Event
from events.nats_bus import NatsBus
from events.streams import Durable
from events.topology import provision, provision_url
from tests.support.eventually import eventually
from tests.support.servers import ServerHost, free_port
from zeitwork import context, ids, tracing
from zeitwork.errors import InvalidInput, Unavailable


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
    async with _world(nats_url) as world:
        yield world


@asynccontextmanager
async def _world(url: str) -> AsyncIterator[World]:
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


async def test_a_handled_message_is_gone(world: World) -> None:
    calls = Calls()
    async with world.running(calls):
        (message,) = await world.publish()
        await eventually(lambda: len(calls.envelopes) == 1)
        await world.wait_settled()
    (envelope,) = calls.envelopes
    assert envelope == unwrap(message.headers, message.data)
    assert await world.nothing_buried()


async def test_the_durable_stays_as_the_topology_made_it(world: World) -> None:
    js = world.bus.jetstream
    await provision(js, durables=[world.durable])
    before = (await js.consumer_info("ZW_EVENTS", world.durable.name)).config
    stream_before = (await js.stream_info("ZW_EVENTS")).config
    async with world.running(Calls()):
        await world.publish()
        await world.wait_settled()
    assert (await js.consumer_info("ZW_EVENTS", world.durable.name)).config == before
    assert (await js.stream_info("ZW_EVENTS")).config == stream_before
    assert await provision(js, durables=[world.durable]) == []


async def test_a_handler_much_longer_than_ack_wait_runs_once(world: World) -> None:
    durable = replace(world.durable, ack_wait=1.0)
    witness = replace(durable, name=f"{durable.name}-witness")
    await provision(world.bus.jetstream, durables=[witness])
    held = Held()
    async with world.running(held, durable=durable):
        await world.publish()
        await within(held.started.wait())
        # Someone who never acknowledges gets it thrice: twice the time that ours may be silent.
        pull = await world.bus.jetstream.pull_subscribe_bind(witness.name, "ZW_EVENTS")
        for delivery in range(1, 4):
            (message,) = await pull.fetch(1, timeout=20)
            assert message.metadata.num_delivered == delivery
        held.release.set()
        await world.wait_settled()
    assert held.calls == 1


async def test_a_failure_is_tried_again_and_then_buried(world: World) -> None:
    calls = Calls(RuntimeError("with a secret in it"))
    async with world.running(calls):
        (message,) = await world.publish()
        letter = await world.dead_letter()
        await world.wait_settled()
    assert len(calls.envelopes) == 3
    assert letter.data == message.data
    assert letter.subject.endswith(f"{world.durable.name}.internal_error")
    expected = {
        **message.headers,
        "zw-attempts": "3",
        "zw-durable": world.durable.name,
        "zw-error": "RuntimeError",
        "zw-error-code": "internal_error",
        "zw-stream": "ZW_EVENTS",
        "zw-subject": message.subject,
    }
    assert expected.items() <= letter.headers.items()
    sequence = letter.headers["zw-sequence"]
    assert letter.headers["Nats-Msg-Id"] == f"dlq:{world.durable.name}:{sequence}"
    assert not [name for name in letter.headers if name.startswith("Nats-Batch")]


async def test_a_failure_that_heals_is_not_buried(world: World) -> None:
    calls = Calls(Unavailable("not now"), Unavailable("not yet"), Done())
    async with world.running(calls):
        await world.publish()
        await eventually(lambda: len(calls.envelopes) == 3)
        await world.wait_settled()
    assert await world.nothing_buried()


async def test_a_hopeless_error_is_buried_at_once(world: World) -> None:
    calls = Calls(InvalidInput("the row says no"))
    async with world.running(calls):
        await world.publish()
        letter = await world.dead_letter()
        await world.wait_settled()
    assert len(calls.envelopes) == 1
    assert letter.headers["zw-error"] == "the row says no"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"data": b"\xff not json"}, "undecodable_event"),
        ({"data": b"{}"}, "undecodable_event"),
        ({"headers": {"ce-type": "zeitwork.build.imagined"}}, "unknown_event"),
        ({"headers": {"ce-time": "yesterday"}}, "undecodable_event"),
    ],
)
async def test_poison_is_buried_in_one_delivery(
    world: World, changes: dict[str, Any], code: str
) -> None:
    good = world.message()
    headers = {**good.headers, **changes.get("headers", {})}
    calls = Calls()
    async with world.running(calls):
        await world.bus.publish(
            [replace(good, data=changes.get("data", good.data), headers=headers)]
        )
        letter = await world.dead_letter()
        await world.wait_settled()
    assert calls.envelopes == []
    assert (letter.headers["zw-error-code"], letter.headers["zw-attempts"]) == (code, "1")


async def test_an_event_of_a_newer_version_waits_for_a_newer_replica(world: World) -> None:
    good = world.message()
    calls = Calls()
    async with world.running(calls):
        headers = {**good.headers, "ce-schemaversion": "2"}
        await world.bus.publish([replace(good, headers=headers)])
        subject = f"zw.deferral.{world.durable.name}.*"
        async with (
            asyncio.timeout(20),
            world.bus.follow("ZW_DEFERRALS", subject, after=0) as noted,
        ):
            await anext(noted)
        assert not await world.settled()
    assert calls.envelopes == []
    assert await world.nothing_buried()


async def test_later_counts_as_no_attempt(world: World) -> None:
    durable = replace(world.durable, attempts=2)
    put_off = [Later(0.02, "not ready")] * 6
    calls = Calls(*put_off, Unavailable("one failure"), Later(0.02, "again"), Done())
    async with world.running(calls, durable=durable):
        await world.publish()
        await eventually(lambda: len(calls.envelopes) == 9)
        await world.wait_settled()
    assert await world.nothing_buried()


async def test_later_has_an_end(world: World) -> None:
    durable = replace(world.durable, deferrals=4)
    calls = Calls(Later(0.02, "never ready"))
    async with world.running(calls, durable=durable):
        await world.publish()
        letter = await world.dead_letter()
        await world.wait_settled()
    assert len(calls.envelopes) == 5
    assert letter.headers["zw-error-code"] == "deferred_too_often"
    assert "never ready" in letter.headers["zw-error"]


async def test_a_dropped_message_is_gone(world: World) -> None:
    calls = Calls(Drop("the project is gone"))
    async with world.running(calls):
        await world.publish()
        await eventually(lambda: len(calls.envelopes) == 1)
        await world.wait_settled()
    assert await world.nothing_buried()


async def test_an_event_that_nobody_handles_is_dropped(world: World) -> None:
    durable = replace(world.durable, filters=(f"zw.evt.*.build.*.{world.project}.*",))
    calls = Calls()
    async with world.running(calls, durable=durable):
        cancelled = builds.BuildCancelled(build_id="bld", deployment_id="dep")
        await world.bus.publish([world.message(event=cancelled)])
        await world.publish()
        await eventually(lambda: len(calls.envelopes) == 1)
        await world.wait_settled()
    assert await world.nothing_buried()


async def test_a_hung_handler_is_stopped_at_its_deadline(world: World) -> None:
    durable = replace(world.durable, deadline=0.1, attempts=2)
    held = Held()
    async with world.running(held, durable=durable):
        await world.publish()
        letter = await world.dead_letter()
        await world.wait_settled()
    assert (held.calls, held.cancelled) == (2, 2)
    assert letter.headers["zw-error-code"] == "timed_out"


async def test_a_handler_that_crashes_its_process_ends_in_the_dead_letters(world: World) -> None:
    js = world.bus.jetstream
    await provision(js, durables=[world.durable])
    await world.publish()
    pull = await js.pull_subscribe_bind(world.durable.name, "ZW_EVENTS")
    for _ in range(world.durable.attempts):  # as if three processes had died with it
        (message,) = await pull.fetch(1, timeout=20)
        await message.nak()
    calls = Calls()
    async with world.running(calls):
        letter = await world.dead_letter()
        await world.wait_settled()
    assert calls.envelopes == []
    assert letter.headers["zw-error-code"] == "attempts_exhausted"


async def test_a_stop_in_the_middle_hands_the_message_on_at_once(world: World) -> None:
    durable = replace(world.durable, attempts=1)  # an interruption is no attempt
    held, calls = Held(), Calls()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            world.running(held, durable=durable, graceful_seconds=0)
        )
        await world.publish()
        await within(held.started.wait())
        await stack.enter_async_context(world.running(calls, durable=durable))
        await first.stop()
        assert held.cancelled == 1
        # Well before `ack_wait` (30 s) would bring it back.
        await eventually(lambda: len(calls.envelopes) == 1)
        await world.wait_settled()
    assert await world.nothing_buried()


async def test_a_stop_lets_a_running_handler_finish(world: World) -> None:
    held = Held()
    async with world.running(held, graceful_seconds=20) as runtime:
        await world.publish()
        await within(held.started.wait())
        stopping = asyncio.ensure_future(runtime.stop())
        await eventually(lambda: runtime._client is None)
        held.release.set()
        await within(stopping)
        await world.wait_settled()
    assert (held.calls, held.cancelled) == (1, 0)


async def test_two_runtimes_share_the_work(world: World) -> None:
    one, other = Calls(), Calls()
    async with world.running(one), world.running(other):
        await world.publish(200)
        await eventually(lambda: len(one.envelopes) + len(other.envelopes) >= 200)
        await world.wait_settled()
    handled = [envelope.subject for calls in (one, other) for envelope in calls.envelopes]
    assert sorted(handled) == sorted(f"bld-{number}" for number in range(200))
    assert one.envelopes
    assert other.envelopes


async def test_concurrency_is_what_the_binding_says(world: World) -> None:
    held = Held()
    async with world.running(held, concurrency=3):
        await world.publish(5)
        await eventually(lambda: held.calls == 3)
        info = await world.bus.jetstream.consumer_info("ZW_EVENTS", world.durable.name)
        assert (info.num_ack_pending, info.num_pending) == (3, 2)
        held.release.set()
        await eventually(lambda: held.calls == 5)
        await world.wait_settled()


async def test_a_deleted_durable_is_made_again_and_work_goes_on(world: World) -> None:
    js = world.bus.jetstream
    calls = Calls()
    async with world.running(calls) as runtime:
        await world.publish()
        await eventually(lambda: len(calls.envelopes) == 1)
        await js.delete_consumer("ZW_EVENTS", world.durable.name)
        message = world.message(7)
        await world.bus.publish([message])
        await eventually(lambda: calls.envelopes[-1].subject == "bld-7", timeout=40)
        assert await runtime.ready() is None


async def test_a_job_leaves_its_queue(world: World) -> None:
    pattern = f"zw.job.build.preview.{world.project}.*"
    durable = replace(world.durable, stream="ZW_JOBS", filters=(pattern,))
    requested = builds.BuildRequested(build_id="bld-0", deployment_id="dep")
    calls = Calls()
    try:
        async with world.running(calls, durable=durable):
            await world.bus.publish([world.message(event=requested)])
            await eventually(lambda: len(calls.envelopes) == 1)
            await until(lambda: world.holds_nothing("ZW_JOBS", pattern))
    finally:
        await world.bus.jetstream.delete_consumer("ZW_JOBS", durable.name)


async def test_a_handler_works_in_the_context_of_its_event(world: World) -> None:
    seen: list[tuple[context.Context, str | None]] = []

    async def handler(_envelope: Envelope) -> Outcome:
        seen.append((context.current(), tracing.current_trace_id()))
        return Done()

    trace = "0af7651916cd43dd8448eb211c80319c"
    good = world.message()
    headers = {**good.headers, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    async with world.running(handler):
        await world.bus.publish([replace(good, headers=headers)])
        await eventually(lambda: len(seen) == 1)
    ((around, trace_id),) = seen
    assert around.correlation_id == good.headers["ce-correlationid"]
    assert around.causation_id == good.id
    assert around.actor == f"consumer:{world.durable.name}"
    assert around.project_id == world.project
    assert trace_id == trace


async def test_work_goes_on_after_the_server_was_killed(
    server_host: ServerHost, tmp_path: Path
) -> None:
    with server_host.running(
        lambda: NatsServer(tmp_path, port=free_port(), monitor_port=free_port())
    ) as server:
        url = server.url.get_secret_value()
        await provision_url(url, durables=[])
        calls = Calls()
        async with _world(url) as world, world.running(calls) as runtime:
            await world.publish()
            await eventually(lambda: len(calls.envelopes) == 1)
            server.kill()
            await asyncio.to_thread(server_host.run, server.wait())
            await until(lambda: _is(runtime, "no connection to NATS"))
            await asyncio.to_thread(server_host.run, server.start())
            await until(lambda: _is(runtime, None))
            await eventually(lambda: world.bus.client.is_connected)
            await world.bus.publish([world.message(7)])
            await eventually(lambda: calls.envelopes[-1].subject == "bld-7")


async def test_a_stop_without_a_server_ends(server_host: ServerHost, tmp_path: Path) -> None:
    with server_host.running(
        lambda: NatsServer(tmp_path, port=free_port(), monitor_port=free_port())
    ) as server:
        url = server.url.get_secret_value()
        async with _world(url) as world, world.running(Calls()) as runtime:
            server.kill()
            await asyncio.to_thread(server_host.run, server.wait())
            await until(lambda: _is(runtime, "no connection to NATS"))
            await within(runtime.stop())
            assert await runtime.ready() == "not started"


async def _is(runtime: ConsumerRuntime, reason: str | None) -> bool:
    return await runtime.ready() == reason
