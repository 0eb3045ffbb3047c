"""What every runtime of consumers must do with a durable's messages."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import pytest
from typing_extensions import override

from consumers.binding import Binding, Bound, RawBinding
from consumers.outcomes import Done, Drop, Later, Outcome
from events import streams
from events.builds import BuildRequested, BuildStarted
from events.bus import Bus, Message, Stored
from events.delivery import Delivery
from events.envelope import Envelope, wrap
from events.event import Event, upcaster
from events.streams import Durable
from tests.support import declared
from tests.support.eventually import eventually
from zeitwork import context, ids
from zeitwork.errors import Conflict, Unavailable


class Driver(Protocol):
    """A broker with one durable of the test's own, and runtimes that share it."""

    @property
    def bus(self) -> Bus: ...
    @property
    def project(self) -> str: ...
    @property
    def durable(self) -> Durable: ...

    def running(self, *bindings: Bound) -> AbstractAsyncContextManager[None]:
        """A runtime that runs during the block."""

    async def settled(self) -> bool:
        """True when the durable has nothing left to hand out or to be answered."""

    async def hand_out(self) -> Delivery | None:
        """The durable's next message, to somebody who may never answer; None when none is due."""

    async def stored(self, stream: str, subject: str) -> Sequence[Stored]:
        """What a stream holds for a subject."""


@dataclass
class Witness:
    """A handler that answers as told, event by event, and remembers who came."""

    answers: list[Outcome | Exception] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    envelopes: list[Envelope] = field(default_factory=list)
    contexts: list[context.Context] = field(default_factory=list)

    async def __call__(self, envelope: Envelope) -> Outcome:
        self.seen.append(envelope.id)
        self.envelopes.append(envelope)
        self.contexts.append(context.current())
        answer = self.answers.pop(0) if self.answers else Done()
        if isinstance(answer, Exception):
            raise answer
        return answer


def started(project: str, number: int = 0, event: Event | None = None) -> Message:
    said = event or BuildStarted(build_id=f"bld-{number}", deployment_id="dep")
    envelope = wrap(said, subject=f"bld-{number}", source="test", project_id=project)
    return Message.of(envelope, f"zw.evt.0.build.started.{project}.bld-{number}")


def _as_version(version: int, message: Message, payload: bytes) -> Message:
    """A `test.note` as another version of the program writes it."""
    said = {"ce-type": "zeitwork.test.note", "ce-schemaversion": str(version)}
    return replace(message, data=payload, headers={**message.headers, **said})


def own_durable(project: str) -> Durable:
    return Durable(
        f"t-{ids.token(6)}",
        "of a test",
        streams.EVENTS.name,
        (f"zw.evt.*.build.started.{project}.*",),
        ack_wait=2.0,
        attempts=3,
        deferrals=2,
        delays=(0.05,),
    )


class ConsumptionContract:
    """Subclasses give `driver`."""

    async def test_each_message_is_handled_once(self, driver: Driver) -> None:
        handler = Witness()
        sent = [started(driver.project, number) for number in range(20)]
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish(sent)
            await eventually(driver.settled)
        assert Counter(handler.seen) == Counter(message.id for message in sent)

    async def test_what_was_stored_before_is_handled_too(self, driver: Driver) -> None:
        handler = Witness()
        await driver.bus.publish([started(driver.project)])
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await eventually(driver.settled)
        assert len(handler.seen) == 1

    async def test_a_failure_comes_again_until_it_succeeds(self, driver: Driver) -> None:
        handler = Witness([Unavailable("a"), Unavailable("b")])
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish([started(driver.project)])
            await eventually(driver.settled)
        assert len(handler.seen) == 3
        assert await self._letters(driver) == []

    async def test_the_last_failure_is_buried_and_only_once(self, driver: Driver) -> None:
        handler = Witness([Unavailable("still away")] * 9)
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            message = started(driver.project)
            await driver.bus.publish([message])
            await eventually(driver.settled)
        assert len(handler.seen) == driver.durable.attempts
        (letter,) = await self._letters(driver)
        assert letter.data == message.data
        assert letter.headers["zw-error-code"] == "unavailable"
        assert letter.headers["zw-attempts"] == "3"
        assert letter.headers["ce-id"] == message.id

    async def test_what_no_attempt_can_help_is_buried_at_once(self, driver: Driver) -> None:
        handler = Witness([Conflict("never")])
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish([started(driver.project)])
            await eventually(driver.settled)
        assert len(handler.seen) == 1
        assert len(await self._letters(driver)) == 1

    async def test_poison_is_buried_and_others_pass(self, driver: Driver) -> None:
        handler = Witness()
        good = started(driver.project, 1)
        subject = f"zw.evt.0.build.started.{driver.project}.bld-9"
        poison = [
            Message(subject, b"no envelope", {}, f"{driver.project}-a"),
            Message(subject, b"{not json", {**good.headers, "ce-id": "x"}, f"{driver.project}-b"),
            Message(subject, good.data, {**good.headers, "ce-schemaversion": "one"}, None),
            Message(subject, good.data, {**good.headers, "ce-type": "zeitwork.no.such"}, None),
            Message(subject, b"[]", good.headers, None),
            Message(subject, b"\xff\xfe", good.headers, None),
            Message(subject, b"[" * 50_000, good.headers, None),
            Message(subject, b'{"build_id": {}, "deployment_id": "dep"}', good.headers, None),
            Message(subject, good.data, {**good.headers, "ce-schemaversion": "0"}, None),
            Message(subject, good.data, {**good.headers, "ce-schemaversion": "-9" * 9}, None),
            Message(subject, good.data, {**good.headers, "ce-time": "2026-01-02T03:04"}, None),
        ]
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish([*poison, good])
            await eventually(driver.settled)
        assert handler.seen == [good.id]
        letters = await self._letters(driver)
        assert len(letters) == len(poison)
        codes = {letter.headers["zw-error-code"] for letter in letters}
        assert codes == {"undecodable_event", "unknown_event"}
        assert {letter.headers["zw-attempts"] for letter in letters} == {"1"}

    async def test_later_is_no_attempt_but_has_an_end(self, driver: Driver) -> None:
        handler = Witness([Later(0.02, "not yet")] * 9)
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish([started(driver.project)])
            await eventually(driver.settled)
        assert len(handler.seen) == driver.durable.deferrals + 1
        (letter,) = await self._letters(driver)
        assert letter.headers["zw-error-code"] == "deferred_too_often"

    async def test_a_newer_version_is_put_off(self, driver: Driver) -> None:
        handler = Witness()
        future = started(driver.project)
        headers = {**future.headers, "ce-schemaversion": "99"}
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            later = Message(future.subject, future.data, headers, future.id)
            await driver.bus.publish([later, started(driver.project, 1)])
            await eventually(lambda: len(handler.seen) == 1)
        assert await self._letters(driver) == []
        assert not await driver.settled()

    @pytest.mark.usefixtures("own_event_types")
    async def test_a_newer_version_waits_for_the_upgrade(self, driver: Driver) -> None:
        durable = replace(driver.durable, upgrade_wait=0.5, deferrals=60)

        class Note(Event, type="test.note"):
            text: str

        before = Witness()
        old = started(driver.project, 1, event=Note(text="ten"))
        newer = _as_version(2, started(driver.project, 2), b'{"size": 3}')
        looks = _Looks(Binding(durable, {Note: before}))
        async with driver.running(looks):
            await driver.bus.publish([newer, old])
            # More often than a failure would be tried.
            await eventually(lambda: looks.counts[newer.id or ""] > durable.attempts)
        assert before.seen == [old.id]
        assert not await driver.settled()

        declared.forget("test.note")

        class Note2(Event, type="test.note", version=2):
            size: int

        @upcaster("test.note", 1)
        def _sized(data: dict[str, Any]) -> dict[str, Any]:
            return {"size": len(data["text"])}

        after = Witness()
        older = _as_version(1, started(driver.project, 3), b'{"text": "five"}')
        async with driver.running(Binding(durable, {Note2: after})):
            await driver.bus.publish([older])
            await eventually(driver.settled)
        assert {each.id: each.data for each in after.envelopes} == {
            newer.id: Note2(size=3),
            older.id: Note2(size=4),
        }
        assert await self._letters(driver) == []

    async def test_dropped_and_unhandled_messages_are_gone(self, driver: Driver) -> None:
        handler = Witness([Drop("not needed")])
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            other = BuildRequested(build_id="b", deployment_id="d")
            await driver.bus.publish(
                [started(driver.project), started(driver.project, 1, event=other)]
            )
            await eventually(driver.settled)
        assert len(handler.seen) == 1
        assert await self._letters(driver) == []

    async def test_a_raw_binding_gets_the_message_as_it_is(self, driver: Driver) -> None:
        seen: list[tuple[bytes, str, int]] = []

        async def handle(delivery: Delivery) -> Outcome:
            seen.append((delivery.data, delivery.durable, delivery.deliveries))
            return Done()

        subject = f"zw.evt.0.build.started.{driver.project}.bld-1"
        async with driver.running(RawBinding(driver.durable, handle)):
            await driver.bus.publish([Message(subject, b"anything", {}, None)])
            await eventually(driver.settled)
        assert seen == [(b"anything", driver.durable.name, 1)]

    async def test_runtimes_share_the_messages(self, driver: Driver) -> None:
        one, other = _Slow(), _Slow()
        sent = [started(driver.project, number) for number in range(30)]
        async with (
            driver.running(Binding(driver.durable, {BuildStarted: one}, concurrency=2)),
            driver.running(Binding(driver.durable, {BuildStarted: other}, concurrency=2)),
        ):
            await driver.bus.publish(sent)
            await eventually(driver.settled)
        assert Counter(one.seen + other.seen) == Counter(message.id for message in sent)
        assert one.seen
        assert other.seen

    async def test_a_stop_hands_the_message_to_the_next(self, driver: Driver) -> None:
        held, handler = _Held(), Witness()
        async with driver.running(Binding(driver.durable, {BuildStarted: held})):
            await driver.bus.publish([started(driver.project)])
            await asyncio.wait_for(held.begun.wait(), 20)
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await eventually(driver.settled)
        assert len(handler.seen) == 1
        assert await self._letters(driver) == []

    async def test_a_handler_works_in_the_context_of_its_event(self, driver: Driver) -> None:
        handler = Witness()
        message = started(driver.project)
        async with driver.running(Binding(driver.durable, {BuildStarted: handler})):
            await driver.bus.publish([message])
            await eventually(driver.settled)
        (around,) = handler.contexts
        assert around.causation_id == message.id
        assert around.correlation_id == message.headers["ce-correlationid"]
        assert around.actor == f"consumer:{driver.durable.name}"

    async def test_the_server_says_when_it_gives_a_message_up(self, driver: Driver) -> None:
        durable, message = driver.durable, started(driver.project)
        await driver.bus.publish([message])
        sequence = 0
        for count in range(1, durable.max_deliver + 1):
            delivery = await self._handed_out(driver)
            assert delivery.deliveries == count
            sequence = delivery.sequence
            await delivery.nak()
        subject = streams.max_deliveries_advisory(durable.stream, durable.name)
        assert await driver.hand_out() is None
        (advisory,) = await eventually(lambda: driver.stored("ZW_ADVISORY", subject))
        said = json.loads(advisory.data)
        assert said["stream"] == durable.stream
        assert said["consumer"] == durable.name
        assert said["stream_seq"] == sequence
        assert said["deliveries"] == durable.max_deliver
        kept = await driver.bus.fetch(durable.stream, sequence)
        assert kept is not None
        assert kept.data == message.data

    async def test_a_terminated_message_makes_an_advisory(self, driver: Driver) -> None:
        durable = driver.durable
        await driver.bus.publish([started(driver.project)])
        delivery = await self._handed_out(driver)
        await delivery.term()
        subject = streams.terminated_advisory(durable.stream, durable.name)
        (advisory,) = await eventually(lambda: driver.stored("ZW_ADVISORY", subject))
        said = json.loads(advisory.data)
        assert (said["consumer"], said["stream_seq"]) == (durable.name, delivery.sequence)
        assert await driver.settled()

    async def _handed_out(self, driver: Driver) -> Delivery:
        delivery = await eventually(driver.hand_out)
        assert delivery is not None
        return delivery

    async def _letters(self, driver: Driver) -> Sequence[Stored]:
        return await driver.stored("ZW_DLQ", f"zw.dlq.ZW_EVENTS.{driver.durable.name}.>")


class _Looks:
    """A binding that counts how often it was shown each message."""

    def __init__(self, binding: Binding) -> None:
        self.durable = binding.durable
        self.concurrency = binding.concurrency
        self.together = binding.together
        self.counts: Counter[str] = Counter()
        self._binding = binding

    async def handle(self, delivery: Delivery) -> Outcome:
        self.counts[delivery.headers["ce-id"]] += 1
        return await self._binding.handle(delivery)


class _Slow(Witness):
    """Gives way, so that another runtime gets its share."""

    @override
    async def __call__(self, envelope: Envelope) -> Outcome:
        await asyncio.sleep(0.005)
        return await super().__call__(envelope)


class _Held:
    """Never ends by itself."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, _envelope: Envelope) -> Outcome:
        self.begun.set()
        await asyncio.Event().wait()
        raise AssertionError("unreachable")
