"""Measures the queues in one API process at a time, and tells the others what it found.

All replicas remember the last minute of readings, so each can answer with rates, and a successor
goes on where its predecessor ended.
"""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import Gauge
from pydantic import ValidationError
from typing_extensions import override

from events import subjects
from events.queues import InspectableBus, Pace, Reading, Trend
from zeitwork import clock, logs, metrics
from zeitwork.service import Worker

_log = logs.get(__name__)
_FRESH = timedelta(seconds=15)  # three rounds: one that fails does not make an answer stale
_GAUGES: tuple[Gauge, ...] = (
    metrics.QUEUE_ACK_PENDING,
    metrics.QUEUE_MISSING,
    metrics.QUEUE_OLDEST_AGE,
    metrics.QUEUE_PENDING,
    metrics.QUEUE_RATE,
    metrics.QUEUE_REDELIVERED,
    metrics.STREAM_BYTES,
    metrics.STREAM_MESSAGES,
)


class QueueMeter(Worker):
    """Hears every measurement; `measure` makes one."""

    name = "queue-meter"

    def __init__(self, bus: InspectableBus) -> None:
        super().__init__()
        self._bus = bus
        self._trend = Trend()

    @override
    async def run(self) -> None:
        async with self._bus.listen(subjects.QUEUES_READ) as messages:
            async for message in messages:
                try:
                    self._trend.add(Reading.model_validate_json(message.data))
                except ValidationError:
                    _log.warning("queue reading not understood")  # of another version of Zeitwork

    async def measure(self) -> None:
        """Look, show it as metrics, and tell the other replicas.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        reading = await self._bus.queues()
        self._trend.add(reading)
        self._show(reading)
        await self._bus.signal(subjects.QUEUES_READ, reading.model_dump_json().encode())

    def forget(self) -> None:
        """Show no metrics: another process does, and the last ones of this one would stand."""
        for gauge in _GAUGES:
            gauge.clear()

    async def reading(self) -> Reading:
        """The last measurement, or a look of its own when there was none lately.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        newest = self._trend.newest
        if newest is not None and clock.now() - newest.at < _FRESH:
            return newest
        reading = await self._bus.queues()
        self._trend.add(reading)
        return reading

    def pace(self, durable: str) -> Pace:
        return self._trend.pace(durable)

    def _show(self, reading: Reading) -> None:
        self.forget()  # what has gone must not stand either
        for stream in reading.streams:
            metrics.STREAM_MESSAGES.labels(stream.name).set(stream.messages)
            metrics.STREAM_BYTES.labels(stream.name).set(stream.bytes)
        for durable in reading.durables:
            age = 0.0
            if durable.oldest_at is not None:
                age = max(0.0, (reading.at - durable.oldest_at).total_seconds())
            metrics.QUEUE_PENDING.labels(durable.name).set(durable.pending)
            metrics.QUEUE_ACK_PENDING.labels(durable.name).set(durable.ack_pending)
            metrics.QUEUE_REDELIVERED.labels(durable.name).set(durable.redelivered)
            metrics.QUEUE_OLDEST_AGE.labels(durable.name).set(age)
            rate = self.pace(durable.name).rate
            if rate is not None:
                metrics.QUEUE_RATE.labels(durable.name).set(rate)
        for name in reading.missing:
            metrics.QUEUE_MISSING.labels(name).set(1)
