"""What every bus driver must do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pytest

from events import streams
from events.bus import Bus, Message, Stored, StreamFull
from tests.support.eventually import eventually
from zeitwork import ids
from zeitwork.errors import BodyTooLarge, BrokerUnavailable, InvalidInput

T = TypeVar("T")
Held = Callable[[str, str], Awaitable[Sequence[Stored]]]


async def take(messages: AsyncIterator[T], count: int, *, seconds: float = 20) -> list[T]:
    """The next `count` of them."""
    async with asyncio.timeout(seconds):
        return [await anext(messages) for _ in range(count)]


def scope() -> str:
    """A project of a test's own, because tests share a server."""
    return f"prj-{ids.token(9)}"


def fact(project: str, number: int, **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "subject": f"zw.evt.0.test.happened.{project}.x{number}",
        "data": str(number).encode(),
        "headers": {"ce-type": "zeitwork.test.happened"},
        "id": f"{project}-{number}",
    }
    return Message(**{**fields, **changes})


def job(project: str, number: int, *, id_: str | None = None) -> Message:
    return Message(f"zw.job.test.production.{project}.{number}", b"work", {}, id_)


def facts_of(project: str) -> str:
    return f"zw.evt.*.test.happened.{project}.*"


class BusContract:
    """Subclasses give `bus`, started, and `held`: what a stream has stored for a subject."""

    async def test_messages_are_stored_in_order(self, bus: Bus) -> None:
        project = scope()
        await bus.publish([fact(project, number) for number in range(5)])
        await bus.publish([fact(project, 5)])
        async with bus.follow("ZW_EVENTS", facts_of(project), after=0) as messages:
            stored = await take(messages, 6)
        assert [message.data for message in stored] == [b"%d" % number for number in range(6)]
        sequences = [message.sequence for message in stored]
        assert sequences == sorted(set(sequences))

    async def test_publishing_nothing_is_nothing(self, bus: Bus) -> None:
        await bus.publish([])

    async def test_an_id_counts_once(self, bus: Bus, held: Held) -> None:
        project = scope()
        await bus.publish([fact(project, 1)])
        await bus.publish([fact(project, 1)])
        assert len(await held("ZW_EVENTS", facts_of(project))) == 1

    async def test_a_batch_published_again_changes_nothing(self, bus: Bus, held: Held) -> None:
        project = scope()
        batch = [fact(project, number) for number in range(4)]
        await bus.publish(batch)
        await bus.publish(batch)
        assert len(await held("ZW_EVENTS", facts_of(project))) == 4

    async def test_a_batch_fills_up_what_is_missing(self, bus: Bus, held: Held) -> None:
        project = scope()
        await bus.publish([fact(project, 1)])
        await bus.publish([fact(project, number) for number in range(4)])
        stored = await held("ZW_EVENTS", facts_of(project))
        assert sorted(message.data for message in stored) == [b"0", b"1", b"2", b"3"]

    async def test_an_id_twice_in_a_batch_counts_once(self, bus: Bus, held: Held) -> None:
        project = scope()
        await bus.publish([fact(project, 1), fact(project, 1), fact(project, 2)])
        stored = await held("ZW_EVENTS", facts_of(project))
        assert [message.data for message in stored] == [b"1", b"2"]

    async def test_a_batch_is_stored_whole_or_not_at_all(self, bus: Bus, held: Held) -> None:
        project = scope()
        big = fact(project, 2, data=b"x" * streams.EVENTS.max_msg_size)
        with pytest.raises(BodyTooLarge):
            await bus.publish([fact(project, 1), big, fact(project, 3)])
        assert await held("ZW_EVENTS", facts_of(project)) == []

    async def test_a_batch_may_go_to_several_streams(self, bus: Bus, held: Held) -> None:
        project = scope()
        await bus.publish(
            [fact(project, 1), job(project, 1), job(project, 2), fact(project, 2), fact(project, 3)]
        )
        events = await held("ZW_EVENTS", facts_of(project))
        assert [message.data for message in events] == [b"1", b"2", b"3"]
        assert len(await held("ZW_JOBS", f"zw.job.test.production.{project}.*")) == 2

    async def test_a_subject_without_a_stream_is_refused(self, bus: Bus) -> None:
        with pytest.raises(InvalidInput):
            await bus.publish([Message("zw.nowhere.x", b"")])

    async def test_headers_travel_except_those_for_the_broker(self, bus: Bus) -> None:
        project = scope()
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        received = {
            "traceparent": trace,
            "ce-actor": "user:usr_é",
            "Nats-Batch-Id": "of another batch",
            "nats-expected-stream": "ZW_NOWHERE",
            "Nats-Msg-Id": "of another message",
        }
        async with bus.follow("ZW_EVENTS", facts_of(project)) as messages:
            await bus.publish([fact(project, 1, headers=received)])
            (stored,) = await take(messages, 1)
        kept = {
            name: value for name, value in stored.headers.items() if not name.startswith("Nats-")
        }
        assert kept == {"traceparent": trace, "ce-actor": "user:usr_é"}
        assert stored.headers.get("Nats-Msg-Id", f"{project}-1") == f"{project}-1"

    async def test_a_queued_job_is_not_queued_again(self, bus: Bus, held: Held) -> None:
        project = scope()
        await bus.publish([job(project, 1, id_=f"{project}-a")])
        await bus.publish([job(project, 1, id_=f"{project}-b")])
        batch = [job(project, 2), job(project, 1), job(project, 3), job(project, 3)]
        await bus.publish(batch)
        stored = await held("ZW_JOBS", f"zw.job.test.production.{project}.*")
        assert [message.subject.rpartition(".")[2] for message in stored] == ["1", "2", "3"]

    async def test_a_full_stream_refuses_and_a_queued_job_still_passes(
        self, bus: Bus, held: Held
    ) -> None:
        project = scope()
        room = streams.JOBS.max_msgs - len(await held("ZW_JOBS", "zw.job.>"))
        await bus.publish([job(project, number) for number in range(room)])
        with pytest.raises(StreamFull):
            await bus.publish([job(project, room)])
        with pytest.raises(StreamFull):
            await bus.publish([job(project, 0), job(project, room), job(project, room + 1)])
        await bus.publish([job(project, 0), job(project, 1)])
        await bus.publish([job(project, 2)])
        assert len(await held("ZW_JOBS", "zw.job.>")) == streams.JOBS.max_msgs

    async def test_concurrent_batches_do_not_mix(self, bus: Bus) -> None:
        project = scope()

        async def publisher(who: int) -> None:
            for start in range(0, 40, 8):
                numbers = range(who * 100 + start, who * 100 + start + 8)
                await bus.publish([fact(project, number) for number in numbers])

        await asyncio.gather(*(publisher(who) for who in range(5)))
        async with bus.follow("ZW_EVENTS", facts_of(project), after=0) as messages:
            numbers = [int(message.data) for message in await take(messages, 200)]
        for who in range(5):
            assert [number for number in numbers if number // 100 == who] == [
                who * 100 + number for number in range(40)
            ]
        for start in range(0, 200, 8):
            batch = numbers[start : start + 8]
            assert batch == list(range(batch[0], batch[0] + 8))

    async def test_following_new_messages_misses_none(self, bus: Bus) -> None:
        project = scope()
        await bus.publish([fact(project, 0)])
        async with bus.follow("ZW_EVENTS", facts_of(project)) as messages:
            await bus.publish([fact(project, 1)])
            await bus.publish([fact(project, 2), fact(project, 3)])
            stored = await take(messages, 3)
        assert [message.data for message in stored] == [b"1", b"2", b"3"]

    async def test_following_starts_behind_a_sequence(self, bus: Bus) -> None:
        project = scope()
        await bus.publish([fact(project, number) for number in range(3)])
        async with bus.follow("ZW_EVENTS", facts_of(project), after=0) as messages:
            first, *_ = await take(messages, 1)
        async with bus.follow("ZW_EVENTS", facts_of(project), after=first.sequence) as messages:
            rest = await take(messages, 2)
        assert [message.data for message in rest] == [b"1", b"2"]

    async def test_each_follower_sees_everything_it_asked_for(self, bus: Bus) -> None:
        one, other = scope(), scope()
        async with (
            bus.follow("ZW_EVENTS", facts_of(one)) as of_one,
            bus.follow("ZW_EVENTS", "zw.evt.*.test.happened.*.*") as of_all,
        ):
            await bus.publish([fact(one, 1), fact(other, 2), fact(one, 3)])
            assert [message.data for message in await take(of_one, 2)] == [b"1", b"3"]
            assert [message.data for message in await take(of_all, 3)] == [b"1", b"2", b"3"]

    async def test_an_unknown_stream_cannot_be_followed(self, bus: Bus) -> None:
        with pytest.raises(BrokerUnavailable):
            async with bus.follow("ZW_NOWHERE", "zw.evt.>"):
                pass

    async def test_signals_reach_every_listener(self, bus: Bus) -> None:
        node = scope()
        async with (
            bus.listen(f"zw.node.{node}.hb") as one,
            bus.listen(f"zw.node.{node}.*") as other,
        ):
            await bus.signal(f"zw.node.{node}.hb", b"1")
            await bus.signal(f"zw.node.{node}.hb", b"2")
            for signals in (one, other):
                heard = await take(signals, 2)
                assert [message.data for message in heard] == [b"1", b"2"]
                assert heard[0].subject == f"zw.node.{node}.hb"

    async def test_a_queue_shares_its_signals(self, bus: Bus) -> None:
        node = scope()
        subject = f"zw.node.{node}.hb"
        heard: list[int] = []

        async def listener(signals: AsyncIterator[Message]) -> None:
            while True:
                heard.append(int((await anext(signals)).data))

        async with (
            bus.listen(subject, queue="workers") as one,
            bus.listen(subject, queue="workers") as other,
            bus.listen(subject) as alone,
        ):
            tasks = [asyncio.ensure_future(listener(signals)) for signals in (one, other)]
            for number in range(20):
                await bus.signal(subject, b"%d" % number)
            assert len(await take(alone, 20)) == 20
            await eventually(lambda: len(heard) == 20)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert sorted(heard) == list(range(20))

    async def test_a_signal_without_a_listener_is_nothing(self, bus: Bus) -> None:
        await bus.signal("zw.wake.nobody", b"x")

    async def test_a_started_bus_is_ready(self, bus: Bus) -> None:
        assert await bus.ready() is None

    async def test_contents_are_what_a_stream_holds_now_without_bodies(self, bus: Bus) -> None:
        project = scope()
        assert [stored async for stored in bus.contents("ZW_EVENTS", facts_of(project))] == []
        await bus.publish([fact(project, number) for number in range(1200)])
        await bus.publish([fact(scope(), 1)])
        found = [stored async for stored in bus.contents("ZW_EVENTS", facts_of(project))]
        assert [stored.subject for stored in found] == [
            fact(project, number).subject for number in range(1200)
        ]
        assert {(stored.data, stored.headers["ce-type"]) for stored in found} == {
            (b"", "zeitwork.test.happened")
        }
        assert [stored.sequence for stored in found] == sorted(stored.sequence for stored in found)

    async def test_a_stream_holds_a_job_until_it_is_done(self, bus: Bus) -> None:
        queued = job(scope(), 1)
        assert not await bus.holds("ZW_JOBS", queued.subject)
        await bus.publish([queued])
        assert await bus.holds("ZW_JOBS", queued.subject)

    async def test_a_stream_that_does_not_exist_holds_nothing_that_one_could_know(
        self, bus: Bus
    ) -> None:
        with pytest.raises(BrokerUnavailable):
            await bus.holds("ZW_NOBODY", "zw.job.x")
        with pytest.raises(BrokerUnavailable):
            await anext(bus.contents("ZW_NOBODY", ">"))
