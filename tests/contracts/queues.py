"""What every bus must tell about its queues."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Protocol

from events import streams
from events.delivery import Delivery
from events.queues import DurableReading, InspectableBus, Reading
from events.streams import Durable
from tests.contracts.bus import fact, facts_of, job, scope
from tests.support.eventually import eventually
from zeitwork import clock, ids


class Puller(Protocol):
    """A bus with a durable of the test's own that nobody else pulls from."""

    @property
    def bus(self) -> InspectableBus: ...
    @property
    def project(self) -> str: ...
    @property
    def durable(self) -> Durable: ...

    async def pull(self) -> Delivery:
        """The next message of the durable."""


def own_durable(project: str) -> Durable:
    other = facts_of(project).replace(".happened.", ".other.")
    return Durable(
        f"t-{ids.token(6)}", "of a test", streams.EVENTS.name, (facts_of(project), other)
    )


async def look(puller: Puller) -> DurableReading:
    reading = await puller.bus.queues(streams=(), durables=[puller.durable])
    (found,) = reading.durables
    return found


class QueuesContract:
    """Subclasses give `puller`."""

    async def test_an_untouched_durable_has_everything_before_it(self, puller: Puller) -> None:
        before = clock.now()
        await puller.bus.publish([fact(puller.project, number) for number in range(3)])
        await puller.bus.publish([fact(scope(), 1)])
        found = await look(puller)
        assert (found.name, found.stream) == (puller.durable.name, "ZW_EVENTS")
        assert found.description == "of a test"
        assert (found.depth, found.pending, found.ack_pending) == (3, 3, 0)
        assert (found.delivered, found.redelivered, found.paused) == (0, 0, False)
        assert found.oldest_at is not None
        assert before - timedelta(seconds=1) <= found.oldest_at <= clock.now()

    async def test_what_is_handed_out_waits_for_its_answer(self, puller: Puller) -> None:
        await puller.bus.publish([fact(puller.project, number) for number in range(2)])
        delivery = await puller.pull()
        found = await look(puller)
        assert (found.depth, found.pending, found.ack_pending) == (2, 1, 1)
        assert (found.delivered, found.position) == (1, delivery.sequence)
        await delivery.ack()
        await eventually(lambda: _depth_is(puller, 1))

    async def test_the_oldest_is_the_first_that_is_not_done(self, puller: Puller) -> None:
        """Of whichever filter it is, and although later ones are done."""
        other = f"zw.evt.0.test.other.{puller.project}.x"
        first = replace(fact(puller.project, 1), subject=other)
        await puller.bus.publish([first])
        await eventually(lambda: _depth_is(puller, 1))  # NATS counts behind its acknowledgement
        alone = (await look(puller)).oldest_at
        await puller.bus.publish([fact(puller.project, number) for number in (2, 3)])
        held, done = await puller.pull(), await puller.pull()
        assert held.subject == other
        await done.ack()
        await eventually(lambda: _depth_is(puller, 2))
        assert (await look(puller)).oldest_at == alone
        await held.ack()
        await eventually(lambda: _depth_is(puller, 1))
        last = (await look(puller)).oldest_at
        assert alone is not None
        assert last is not None
        assert last > alone
        await (await puller.pull()).ack()
        await eventually(lambda: _depth_is(puller, 0))
        assert (await look(puller)).oldest_at is None

    async def test_a_message_handed_out_again_counts_as_redelivered(self, puller: Puller) -> None:
        await puller.bus.publish([fact(puller.project, 1)])
        await (await puller.pull()).nak()
        again = await puller.pull()
        assert again.deliveries == 2
        found = await look(puller)
        assert (found.depth, found.ack_pending, found.redelivered) == (1, 1, 1)
        assert found.delivered == 2

    async def test_a_stream_tells_its_contents_and_limits(self, puller: Puller) -> None:
        jobs = [streams.JOBS]
        (before,) = (await puller.bus.queues(streams=jobs, durables=())).streams
        await puller.bus.publish([job(puller.project, number) for number in range(3)])
        (after,) = (await puller.bus.queues(streams=jobs, durables=())).streams
        assert after.messages == before.messages + 3
        assert after.bytes > before.bytes
        assert after.last_sequence == before.last_sequence + 3
        assert after.first_sequence <= after.last_sequence
        assert (after.max_messages, after.max_bytes) == (10_000, 256 * 1024 * 1024)
        assert after.max_age_seconds is None
        assert after.description == streams.JOBS.description

    async def test_looking_changes_nothing(self, puller: Puller) -> None:
        await puller.bus.publish([fact(puller.project, 1)])
        await eventually(lambda: _depth_is(puller, 1))
        assert await look(puller) == await look(puller)

    async def test_a_reading_travels_as_json(self, puller: Puller) -> None:
        await puller.bus.publish([fact(puller.project, 1)])
        reading = await puller.bus.queues(durables=[puller.durable])
        assert Reading.model_validate_json(reading.model_dump_json()) == reading


async def _depth_is(puller: Puller, depth: int) -> bool:
    return (await look(puller)).depth == depth
