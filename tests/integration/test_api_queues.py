"""`GET /queues`, `zeitwork queues`, and the metrics: one measures, everybody can answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from cli.exits import Exit
from events.bus import Message
from events.memory import MemoryBus
from events.streams import DURABLES, STREAMS
from producers.queues import QueueMeter
from tests.support.api import Api, assert_problem
from tests.support.cli import Cli
from tests.support.eventually import eventually
from zeitwork import clock, metrics

BUILDS = "build-production-v1"


async def queue(api: Api) -> dict[str, object]:
    answer = await api.get("/queues")
    assert answer.status == 200
    (found,) = [each for each in answer.json["durables"] if each["name"] == BUILDS]
    return dict(found)


async def queue_builds(bus: MemoryBus, count: int) -> None:
    await bus.publish(
        [Message(f"zw.job.build.production.p.{number}", b"work") for number in range(count)]
    )


async def test_every_stream_and_durable_is_told(api: Api, bus: MemoryBus) -> None:
    await queue_builds(bus, 3)
    answer = (await api.get("/queues")).json
    assert {each["name"] for each in answer["streams"]} == {each.name for each in STREAMS}
    assert {each["name"] for each in answer["durables"]} == {each.name for each in DURABLES}
    assert answer["missing"] == []
    found = await queue(api)
    assert (found["depth"], found["pending"], found["ack_pending"]) == (3, 3, 0)
    assert isinstance(found["oldest_age_seconds"], float)
    assert (found["rate"], found["drain_seconds"]) == (None, None)


async def test_it_needs_a_token(api: Api) -> None:
    assert_problem(await api.get("/queues", token=None), 401, "unauthenticated")


async def test_a_replica_that_does_not_measure_answers_with_the_others_word() -> None:
    bus = MemoryBus()
    measures, hears = QueueMeter(bus), QueueMeter(bus)
    await hears.start()
    fake = clock.FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    try:
        with clock.using(fake):
            await queue_builds(bus, 4)
            await eventually(lambda: measured(measures, hears))
            builds = next(each for each in DURABLES if each.name == BUILDS)
            for _ in range(2):
                await (await bus.durable(builds).pull()).ack()
            fake.advance(5)
            await eventually(lambda: measured(measures, hears))
            pace = hears.pace(BUILDS)
        assert (pace.rate, pace.drain_seconds) == (0.4, 5.0)
        assert pace == measures.pace(BUILDS)
    finally:
        await hears.stop()


async def measured(measures: QueueMeter, hears: QueueMeter) -> bool:
    await measures.measure()
    return (await hears.reading()).at == (await measures.reading()).at


async def test_the_metrics_show_what_was_measured_until_another_process_measures() -> None:
    bus = MemoryBus()
    meter = QueueMeter(bus)
    await queue_builds(bus, 2)
    await meter.measure()
    labels = {"durable": BUILDS}
    value = metrics.REGISTRY.get_sample_value
    assert value("zeitwork_queue_pending", labels) == 2
    assert value("zeitwork_stream_messages", {"stream": "ZW_JOBS"}) == 2
    age = value("zeitwork_queue_oldest_age_seconds", labels)
    assert age is not None
    assert age >= 0
    meter.forget()
    assert value("zeitwork_queue_pending", labels) is None
    assert value("zeitwork_stream_messages", {"stream": "ZW_JOBS"}) is None


async def test_the_command_prints_the_same(api: Api, bus: MemoryBus) -> None:
    await queue_builds(bus, 3)
    cli = Cli.of(api)
    shown = await cli("queues", "--json")
    assert (shown.code, shown.out.count("\n")) == (Exit.OK, 1)
    depths = {each["name"]: each["depth"] for each in json.loads(shown.out)["durables"]}
    assert depths == {each.name: 3 if each.name == BUILDS else 0 for each in DURABLES}
    people = await cli("queues")
    assert people.code == Exit.OK
    (line,) = [each for each in people.out.splitlines() if each.startswith(BUILDS)]
    assert line.split()[1:5] == ["ZW_JOBS", "3", "3", "0"]
    assert any(each.startswith("ZW_JOBS") for each in people.out.splitlines())


async def test_watching_goes_on(api: Api) -> None:
    async with Cli.of(api).started("queues", "--watch", "--json") as process:
        assert process.stdout is not None
        first, second = [json.loads(await process.stdout.readline()) for _ in range(2)]
    assert {each["name"] for each in first["durables"]} == {
        each["name"] for each in second["durables"]
    }
