"""The consumer runtime against a real server: its life, its concurrency, its connection."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from cli.embedded.nats import NatsServer
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from events import builds
from events.envelope import Envelope
from events.topology import provision, provision_url
from tests.support.consumers import Calls, Held, World, until, within, world_on
from tests.support.eventually import eventually
from tests.support.servers import ServerHost, free_port
from zeitwork import context, tracing


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
        async with world_on(url) as world, world.running(calls) as runtime:
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
        async with world_on(url) as world, world.running(Calls()) as runtime:
            server.kill()
            await asyncio.to_thread(server_host.run, server.wait())
            await until(lambda: _is(runtime, "no connection to NATS"))
            await within(runtime.stop())
            assert await runtime.ready() == "not started"


async def _is(runtime: ConsumerRuntime, reason: str | None) -> bool:
    return await runtime.ready() == reason
