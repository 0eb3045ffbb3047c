"""Events for measurements: a project of their own, a durable that gets them, a stream filled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events import subjects
from events.builds import BuildStarted
from events.bus import Message
from events.envelope import wrap
from events.nats_bus import NatsBus
from events.streams import EVENTS, Durable
from zeitwork import ids

_BATCH = 500


def fact(build_id: str) -> BuildStarted:
    return BuildStarted(build_id=build_id, deployment_id=ids.new(ids.Prefix.DEPLOYMENT))


def message(project: str) -> Message:
    build = ids.new(ids.Prefix.BUILD)
    envelope = wrap(fact(build), subject=build, source="bench", project_id=project)
    return Message.of(envelope, subjects.of(envelope, job_class="production"))


def durable(name: str, project: str) -> Durable:
    """Gets the facts of `project`, from the first one on."""
    pattern = subjects.facts(BuildStarted, project=project)
    return Durable(name, "of a measurement", EVENTS.name, (pattern,))


async def fill(bus: NatsBus, project: str, count: int) -> None:
    for start in range(0, count, _BATCH):
        size = min(_BATCH, count - start)
        await bus.publish([message(project) for _ in range(size)])


async def pending(bus: NatsBus, stream: str, name: str) -> int:
    """Messages that a durable has yet to deliver, or to hear about."""
    info = await bus.jetstream.consumer_info(stream, name)
    return (info.num_pending or 0) + (info.num_ack_pending or 0)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[NatsBus]:
    bus = NatsBus(url, name="bench")
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()
