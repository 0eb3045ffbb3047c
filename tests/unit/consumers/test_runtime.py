"""What becomes of a delivery, decided and carried out, without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg
from typing_extensions import override

from consumers.binding import Binding
from consumers.dead_letters.letter import dead_letter
from consumers.middleware import Bury, Retry, Settler, bounded, judge
from consumers.outcomes import Done, Drop, Later, Outcome
from consumers.runtime import ConsumerRuntime
from events import streams
from events.delivery import Delivery
from events.event import NewerEvent, UndecodableEvent, UnknownEvent
from events.memory import MemoryBus
from events.nats_delivery import NatsDelivery
from events.streams import Durable
from zeitwork import metrics
from zeitwork.errors import BrokerUnavailable, Conflict, TimedOut, Unavailable

DURABLE = Durable(
    "t-v1",
    "of a test",
    "ZW_EVENTS",
    ("zw.evt.*.build.>",),
    attempts=3,
    deferrals=4,
    delays=(1.0, 10.0),
)


class Connection:
    """Takes the answers to deliveries in place of a client."""

    def __init__(self, *, broken: bool = False) -> None:
        self.answers: list[bytes] = []
        self._broken = broken

    async def publish(self, subject: str, payload: bytes = b"", **_: Any) -> None:
        if self._broken:
            raise nats.errors.ConnectionClosedError
        self.answers.append(payload)


class Ledger:
    """Counts in memory."""

    def __init__(self, deferred: int = 0, *, error: Exception | None = None) -> None:
        self.deferred = deferred
        self._error = error

    async def count(self, _delivery: Delivery) -> int:
        if self._error is not None:
            raise self._error
        return self.deferred

    async def add(self, _delivery: Delivery) -> None:
        if self._error is not None:
            raise self._error
        self.deferred += 1


class BrokenBus(MemoryBus):
    """Stores nothing."""

    @override
    async def publish(self, messages: Any) -> None:
        raise BrokerUnavailable("away")


class Case:
    """One delivery and all that it touches."""

    def __init__(
        self,
        *,
        delivered: int = 1,
        ledger: Ledger | None = None,
        bus: MemoryBus | None = None,
        connection: Connection | None = None,
        durable: Durable = DURABLE,
    ) -> None:
        self.connection = connection or Connection()
        self.ledger = ledger or Ledger()
        self.bus = bus or MemoryBus()
        self.settler = Settler([durable], bus=self.bus, ledger=self.ledger)
        self.message = delivery(delivered, client=self.connection)

    async def settle(self, handle: Callable[[], Awaitable[Outcome]]) -> None:
        await self.settler.settle(self.message, handle)

    @property
    def answer(self) -> bytes:
        (answer,) = self.connection.answers
        return answer

    @property
    def delay(self) -> float:
        """Seconds in the one answer, which hands the message back."""
        kind, _, options = self.answer.partition(b" ")
        assert kind == b"-NAK"
        return float(json.loads(options)["delay"]) / 1e9 if options else 0.0

    @property
    def letters(self) -> list[Any]:
        return self.bus.stored("ZW_DLQ")


def delivery(
    delivered: int = 1, *, client: Any = None, headers: Any = None, durable: str = DURABLE.name
) -> NatsDelivery:
    message = Msg(
        _client=client,
        subject="zw.evt.0.build.started.prj_1.bld_1",
        reply=f"$JS.ACK.ZW_EVENTS.{durable}.{delivered}.77.5.1700000000000000000.0",
        data=b"the body",
        headers=headers or {"ce-id": "evt_1", "Nats-Msg-Id": "evt_1", "traceparent": "00-ab"},
    )
    return NatsDelivery(message)


def answering(outcome: Outcome | Exception) -> Callable[[], Awaitable[Outcome]]:
    async def handle() -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return handle


@pytest.mark.parametrize("error", [RuntimeError("x"), Unavailable("x"), TimedOut("x"), KeyError()])
def test_a_failure_is_retried_with_growing_delays_until_attempts_are_used(error: Exception) -> None:
    first = judge(error, attempt=1, durable=DURABLE)
    second = judge(error, attempt=2, durable=DURABLE)
    assert isinstance(first, Retry)
    assert isinstance(second, Retry)
    assert 0.9 <= first.seconds <= 1.1
    assert 9 <= second.seconds <= 11
    assert isinstance(judge(error, attempt=3, durable=DURABLE), Bury)


def test_the_last_delay_repeats() -> None:
    verdict = judge(Unavailable("x"), attempt=9, durable=replace(DURABLE, attempts=20))
    assert isinstance(verdict, Retry)
    assert 9 <= verdict.seconds <= 11


@pytest.mark.parametrize("error", [UndecodableEvent("x"), UnknownEvent("x"), Conflict("x")])
def test_what_no_retry_can_help_is_buried_at_once(error: Exception) -> None:
    assert isinstance(judge(error, attempt=1, durable=DURABLE), Bury)


def test_a_foreign_error_is_named_without_its_text() -> None:
    verdict = judge(RuntimeError("password=x"), attempt=3, durable=DURABLE)
    assert isinstance(verdict, Bury)
    assert (verdict.code, verdict.detail) == ("internal_error", "RuntimeError")


def test_an_event_from_the_future_waits() -> None:
    verdict = judge(NewerEvent("x"), attempt=3, durable=DURABLE)
    assert isinstance(verdict, Later)
    assert verdict.seconds >= 30


def test_putting_off_has_an_end() -> None:
    later = Later(5, "the node sleeps")
    assert bounded(later, deferred=3, durable=DURABLE) is later
    verdict = bounded(later, deferred=4, durable=DURABLE)
    assert isinstance(verdict, Bury)
    assert verdict.code == "deferred_too_often"
    assert bounded(Done(), deferred=99, durable=DURABLE) == Done()


async def test_done_and_drop_acknowledge() -> None:
    for outcome in (Done(), Drop("no longer wanted")):
        case = Case()
        await case.settle(answering(outcome))
        assert case.answer == b""  # an empty answer is +ACK
        assert case.ledger.deferred == 0


async def test_later_is_noted_and_handed_back() -> None:
    case = Case()
    await case.settle(answering(Later(7, "not yet")))
    assert case.delay == 7
    assert case.ledger.deferred == 1


async def test_attempts_are_deliveries_that_were_not_put_off() -> None:
    case = Case(delivered=6, ledger=Ledger(4))
    await case.settle(answering(Unavailable("x")))
    assert 9 <= case.delay <= 11  # the second attempt's
    assert case.letters == []


async def test_the_last_attempt_is_buried_and_ended() -> None:
    case = Case(delivered=3)
    await case.settle(answering(Unavailable("still away")))
    assert case.answer == b"+TERM"
    (letter,) = case.letters
    assert letter.data == b"the body"
    assert letter.headers["zw-error"] == "still away"


async def test_a_message_beyond_its_attempts_is_buried_unread() -> None:
    called = False

    async def handle() -> Outcome:
        nonlocal called
        called = True
        return Done()

    case = Case(delivered=4)
    await case.settle(handle)
    assert not called
    assert case.answer == b"+TERM"
    assert case.letters[0].headers["zw-error-code"] == "attempts_exhausted"


async def test_a_message_that_cannot_be_buried_stays() -> None:
    case = Case(delivered=3, bus=BrokenBus())
    await case.settle(answering(Unavailable("x")))
    assert 9 <= case.delay <= 11


async def test_without_the_ledger_nothing_is_tried() -> None:
    case = Case(delivered=2, ledger=Ledger(error=BrokerUnavailable("x")))
    await case.settle(answering(AssertionError("not to be called")))
    assert case.delay < 2
    assert case.letters == []


async def test_a_hung_handler_ends_at_the_deadline() -> None:
    case = Case(durable=replace(DURABLE, deadline=0.01))
    await case.settle(_for_ever)
    assert case.delay > 0


async def test_a_stop_hands_the_message_back_at_once() -> None:
    case = Case()
    started = asyncio.Event()

    async def handle() -> Outcome:
        started.set()
        return await _for_ever()

    task = asyncio.ensure_future(case.settle(handle))
    await started.wait()
    case.settler.interrupt()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert case.delay == 0
    assert case.ledger.deferred == 1


async def test_a_cancelled_call_inside_a_handler_is_a_failure() -> None:
    async def handle() -> Outcome:
        raise asyncio.CancelledError

    case = Case()
    await case.settle(handle)
    assert case.delay > 0
    assert case.ledger.deferred == 0


async def test_a_running_handler_keeps_its_message() -> None:
    case = Case(durable=replace(DURABLE, ack_wait=0.003))

    async def handle() -> Outcome:
        while len(case.connection.answers) < 3:
            await asyncio.sleep(0)
        return Done()

    await case.settle(handle)
    *beats, last = case.connection.answers
    assert set(beats) == {b"+WPI"}
    assert last == b""


async def test_a_lost_connection_is_no_error_of_the_handler() -> None:
    case = Case(connection=Connection(broken=True))
    await case.settle(answering(Done()))
    assert case.letters == []


async def test_each_end_is_measured() -> None:
    def count(outcome: str) -> float:
        labels = {"durable": "m-v1", "outcome": outcome}
        return metrics.REGISTRY.get_sample_value("zeitwork_handler_seconds_count", labels) or 0.0

    durable = replace(DURABLE, name="m-v1")
    ends: dict[str, Outcome | Exception] = {
        "done": Done(),
        "drop": Drop("x"),
        "later": Later(1, "x"),
        "retry": Unavailable("x"),
        "dead": Conflict("x"),
    }
    for outcome, answer in ends.items():
        settler = Settler([durable], bus=MemoryBus(), ledger=Ledger())
        message = delivery(client=Connection(), durable=durable.name)
        await settler.settle(message, answering(answer))
        assert count(outcome) == 1


def test_a_dead_letter_tells_where_it_comes_from() -> None:
    headers = {"ce-id": "evt_1", "Nats-Msg-Id": "evt_1", "Nats-Batch-Id": "b"}
    letter = dead_letter(
        delivery(2, headers=headers),
        attempt=2,
        code="weird code!",
        detail="line\none\x00" + "x" * 999,
    )
    assert letter.subject == "zw.dlq.ZW_EVENTS.t-v1.weird-code-"
    assert streams.holding(letter.subject) is streams.DLQ
    assert letter.id == "dlq:t-v1:77"
    assert letter.headers["zw-subject"] == "zw.evt.0.build.started.prj_1.bld_1"
    assert letter.headers["zw-error-code"] == "weird code!"
    assert "\n" not in letter.headers["zw-error"]
    assert len(letter.headers["zw-error"]) <= 500


async def test_a_dead_letter_is_stored_once() -> None:
    bus = MemoryBus()
    for attempt in (1, 2):
        await bus.publish([dead_letter(delivery(), attempt=attempt, code="c", detail="d")])
    (stored,) = bus.stored("ZW_DLQ")
    assert not [name for name in stored.headers if name.startswith("Nats-")]


async def test_a_runtime_that_is_not_started_says_so_and_stops() -> None:
    runtime = ConsumerRuntime("nats://127.0.0.1:1", [Binding(DURABLE, {})])
    assert await runtime.ready() == "not started"
    await runtime.stop()
    await runtime.stop()


async def _for_ever() -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")
