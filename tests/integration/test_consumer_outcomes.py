"""Each way in which a delivery can end, against a real server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from consumers.outcomes import Done, Drop, Later
from events import builds
from events.envelope import unwrap
from events.topology import provision
from tests.support.consumers import Calls, Held, World
from tests.support.eventually import eventually
from zeitwork.errors import InvalidInput, Unavailable


async def test_a_handled_message_is_gone(world: World) -> None:
    calls = Calls()
    async with world.running(calls):
        (message,) = await world.publish()
        await eventually(lambda: len(calls.envelopes) == 1)
        await world.wait_settled()
    (envelope,) = calls.envelopes
    assert envelope == unwrap(message.headers, message.data)
    assert await world.nothing_buried()


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
