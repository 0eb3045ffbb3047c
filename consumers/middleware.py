"""How a delivery ends: acknowledged, handed back with a delay, or buried in the dead letters.

FastStream's own policies lose messages or hammer them, so its acknowledging is off (MANUAL) and
this middleware, the outermost, settles every delivery. While a handler runs, heartbeats keep the
message; when they stop (a crash) the server hands it out again after `ack_wait`. Deliveries that
are taken together are settled here as well, one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias

from faststream import BaseMiddleware, ContextRepo, StreamMessage
from opentelemetry.trace import INVALID_SPAN, Span, StatusCode
from typing_extensions import override

from consumers.binding import Bound
from consumers.dead_letters.letter import dead_letter
from consumers.outcomes import Done, Drop, Later, Outcome
from consumers.surroundings import around, described, thread
from events.bus import Bus
from events.delivery import Delivery
from events.event import NewerEvent
from events.nats_delivery import NatsDelivery
from events.streams import Durable
from zeitwork import clock, logs, metrics
from zeitwork.errors import BrokerUnavailable, TimedOut, Unavailable, ZeitworkError
from zeitwork.service import cancel, spawn

_log = logs.get(__name__)

_BEATS_IN_ACK_WAIT = 3


@dataclass(frozen=True, slots=True)
class Retry:
    """The attempt failed; the next one comes after `seconds`."""

    seconds: float
    error: Exception


@dataclass(frozen=True, slots=True)
class Interrupted:
    """This process stops; the next attempt may come at once, and this one does not count."""


@dataclass(frozen=True, slots=True)
class Bury:
    """No attempt will help; the message goes to the dead letters."""

    code: str
    detail: str
    error: Exception | None = None


Verdict: TypeAlias = Outcome | Retry | Interrupted | Bury
_LABELS = {
    Done: "done",
    Later: "later",
    Interrupted: "later",
    Drop: "drop",
    Retry: "retry",
    Bury: "dead",
}


def judge(error: Exception, *, attempt: int, durable: Durable) -> Verdict:
    """What follows from a failed attempt (the first is 1)."""
    if isinstance(error, NewerEvent):
        return Later(durable.upgrade_wait, error.message)
    hopeless = isinstance(error, ZeitworkError) and not error.retryable
    if not durable.endless and (hopeless or attempt >= durable.attempts):
        return Bury(*described(error), error)
    delay = durable.delays[min(attempt, len(durable.delays)) - 1]
    return Retry(clock.jitter(delay), error)


def bounded(verdict: Verdict, *, deferred: int, durable: Durable) -> Verdict:
    """The verdict, unless it puts off a message that was put off too often."""
    if isinstance(verdict, Later) and deferred >= durable.deferrals and not durable.endless:
        return Bury("deferred_too_often", f"put off {deferred} times: {verdict.reason}")
    return verdict


class Ledger(Protocol):
    """Counts how often a message was put off; see `consumers.deferrals`."""

    async def count(self, delivery: Delivery) -> int:
        """How often so far."""

    async def add(self, delivery: Delivery) -> None:
        """Once more."""


class Settler:
    """Runs handlers and settles their deliveries; one for all subscribers of a process."""

    def __init__(self, durables: Sequence[Durable], *, bus: Bus, ledger: Ledger) -> None:
        self._durables = {durable.name: durable for durable in durables}
        self._bus = bus
        self._ledger = ledger
        self._running: set[asyncio.Task[Any]] = set()

    def interrupt(self) -> None:
        """Cancel the handlers that still run; another replica gets their messages at once."""
        for task in self._running:
            task.cancel()

    async def settle(self, message: Delivery, handle: Callable[[], Awaitable[Outcome]]) -> None:
        """Run `handle` for a delivery and tell the broker how it ended.

        Raises:
            CancelledError: this process stops; the message has been handed back.
        """
        case = _Case(message, self._durables[message.durable])
        with self._interruptible(), around(message, case.durable) as span:
            started = clock.monotonic()
            async with _pulse([message], case.durable):
                verdict = await self._verdict(case, handle)
                verdict = await self._prepared(case, verdict)
            await _answer(case, verdict)
            _report(case, verdict, span=span, seconds=clock.monotonic() - started)
        if isinstance(verdict, Interrupted):
            raise asyncio.CancelledError

    async def settle_several(self, messages: Sequence[Delivery], bound: Bound) -> None:
        """Settle what came at once: together what can be, the rest one by one.

        Raises:
            CancelledError: this process stops; what was not settled has been handed back.
        """
        if len(messages) == 1:
            await self.settle(messages[0], partial(bound.handle, messages[0]))
            return
        waiting = list(messages)
        async with _pulse(waiting, bound.durable):
            try:
                with self._interruptible():
                    await self._settle_together(waiting, bound)
                while waiting:
                    message = waiting.pop(0)
                    await self.settle(message, partial(bound.handle, message))
            except asyncio.CancelledError:
                await self.hand_back(waiting, bound.durable)
                raise

    async def hand_back(self, messages: Sequence[Delivery], durable: Durable) -> None:
        """Let another replica have messages that were not begun."""
        await asyncio.gather(*(self._hand_back(each, durable) for each in messages))

    async def _settle_together(self, waiting: list[Delivery], bound: Bound) -> None:
        """Take off the list what could be handled at once; order the rest."""
        if bound.together is None:
            return
        started = clock.monotonic()
        taken = await bound.together(waiting)
        seconds = (clock.monotonic() - started) / max(1, len(taken.outcomes))
        waiting[:] = [*(message for message, _ in taken.outcomes), *taken.alone]
        for message, outcome in taken.outcomes:
            case = _Case(message, bound.durable)
            with thread(message, bound.durable):
                await _answer(case, outcome)
                _report(case, outcome, span=INVALID_SPAN, seconds=seconds)
            waiting.pop(0)

    async def _hand_back(self, message: Delivery, durable: Durable) -> None:
        case = _Case(message, durable)
        with thread(message, durable):
            verdict = await self._prepared(case, Interrupted())
            await _answer(case, verdict)
            _report(case, verdict, span=INVALID_SPAN, seconds=0)

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._running.add(task)
        try:
            yield
        finally:
            self._running.discard(task)

    async def _verdict(self, case: _Case, handle: Callable[[], Awaitable[Outcome]]) -> Verdict:
        durable, message = case.durable, case.message
        try:
            case.deferred = await self._ledger.count(message)
        except ZeitworkError as error:
            return Retry(clock.jitter(durable.delays[0]), error)
        case.attempt = max(1, message.deliveries - case.deferred)
        if case.attempt > durable.attempts and not durable.endless:
            return Bury("attempts_exhausted", "every attempt ended without a word")
        verdict = await _tried(case, handle)
        return bounded(verdict, deferred=case.deferred, durable=durable)

    async def _prepared(self, case: _Case, verdict: Verdict) -> Verdict:
        """Store what must outlive the answer; a message that cannot be buried stays."""
        try:
            if isinstance(verdict, Bury):
                letter = dead_letter(
                    case.message,
                    attempt=case.attempt,
                    code=verdict.code,
                    detail=verdict.detail,
                )
                await self._bus.publish([letter])
            elif isinstance(verdict, Later | Interrupted):
                await self._ledger.add(case.message)
        except ZeitworkError as error:
            _log.error("delivery not noted", verdict=_LABELS[type(verdict)], code=error.code)
            if isinstance(verdict, Bury):
                return Retry(clock.jitter(case.durable.delays[-1]), error)
        return verdict


class Settle(BaseMiddleware[Any, Any]):
    """Puts the settler round FastStream's call of a handler; bind `settler` with `partial`."""

    def __init__(self, message: Any, /, *, context: ContextRepo, settler: Settler) -> None:
        super().__init__(message, context=context)
        self._settler = settler

    @override
    async def consume_scope(
        self, call_next: Callable[[Any], Awaitable[Any]], msg: StreamMessage[Any]
    ) -> None:
        await self._settler.settle(NatsDelivery(msg.raw_message), partial(call_next, msg))


@dataclass(slots=True)
class _Case:
    """A delivery that is being settled; the numbers are known once the ledger was asked."""

    message: Delivery
    durable: Durable
    attempt: int = 1
    deferred: int = 0


async def _tried(case: _Case, handle: Callable[[], Awaitable[Outcome]]) -> Verdict:
    """Run the handler within its deadline and judge how it failed, if it did."""
    durable = case.durable
    try:
        async with asyncio.timeout(durable.deadline):
            return await handle()
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            return Interrupted()
        error: Exception = Unavailable("a call that the handler waited for was cancelled")
    except TimeoutError:
        error = TimedOut(f"not handled within {durable.deadline:g} s")
    except Exception as raised:  # noqa: BLE001 - whatever a handler raises is judged here
        error = raised
    return judge(error, attempt=case.attempt, durable=durable)


@contextlib.asynccontextmanager
async def _pulse(messages: Sequence[Delivery], durable: Durable) -> AsyncIterator[None]:
    beating = _Pulse(messages, durable)
    try:
        yield
    finally:
        await beating.stop()


class _Pulse:
    """Keeps messages from being handed out again: told to the server at a third of `ack_wait`.

    A timer costs next to nothing while the handler is quick; a task for each message would not. A
    handler that never ends loses the message. The list may get shorter meanwhile.
    """

    def __init__(self, messages: Sequence[Delivery], durable: Durable) -> None:
        self._messages = messages
        self._name = f"beat-{durable.name}"
        self._interval = durable.ack_wait / _BEATS_IN_ACK_WAIT
        # The last of several has waited for all others.
        longest = durable.deadline * len(messages)
        self._end = clock.monotonic() + longest + durable.ack_wait
        self._telling: asyncio.Task[Any] | None = None
        self._timer = clock.later(self._interval, self._beat)

    async def stop(self) -> None:
        self._timer.cancel()
        if self._telling is not None:
            await cancel(self._telling)

    def _beat(self) -> None:
        if clock.monotonic() >= self._end:
            return
        if self._telling is None or self._telling.done():
            self._telling = spawn(self._tell(), self._name)
        self._timer = clock.later(self._interval, self._beat)

    async def _tell(self) -> None:
        with contextlib.suppress(BrokerUnavailable):  # the next beat, or `ack_wait`, decides
            for message in [*self._messages]:
                await message.in_progress()


async def _answer(case: _Case, verdict: Verdict) -> None:
    """Tell the server; without a connection the message comes again after `ack_wait`."""
    message = case.message
    try:
        match verdict:
            case Done() | Drop():
                await message.ack()
            case Later(seconds=seconds) | Retry(seconds=seconds):
                await message.nak(seconds)
            case Interrupted():
                await message.nak()
            case Bury():
                await message.term()
    except BrokerUnavailable as error:
        _log.warning("delivery not settled", code=error.code, detail=error.message)


def _report(case: _Case, verdict: Verdict, *, span: Span, seconds: float) -> None:
    outcome = _LABELS[type(verdict)]
    metrics.HANDLED.labels(case.durable.name, outcome).observe(seconds)
    span.set_attribute("zeitwork.outcome", outcome)
    about: dict[str, Any] = {"attempt": case.attempt, "seconds": round(seconds, 4)}
    match verdict:
        case Done():
            _log.debug("message handled", **about)
        case Drop(reason=reason):
            _log.info("message dropped", reason=reason, **about)
        case Later(seconds=delay, reason=reason):
            _log.info("message put off", reason=reason, delay=delay, **about)
        case Interrupted():
            _log.info("handler interrupted", **about)
        case Retry(seconds=delay, error=error):
            code, detail = described(error)
            span.set_status(StatusCode.ERROR, code)
            about |= {"code": code, "detail": detail, "delay": round(delay, 2)}
            _log.warning("handler failed", exc_info=_trace(error), **about)
        case Bury(code=code, detail=detail, error=cause):
            span.set_status(StatusCode.ERROR, code)
            about |= {"code": code, "detail": detail}
            _log.error("message buried", exc_info=_trace(cause), **about)


def _trace(error: Exception | None) -> Exception | None:
    """What is worth a stack trace: errors that nobody raised on purpose."""
    return None if isinstance(error, ZeitworkError) else error
