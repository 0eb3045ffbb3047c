"""The wake-up names the streams, so that only their lanes look."""

from __future__ import annotations

import asyncio

from db import wake
from events import subjects
from events.memory import MemoryBus


async def test_the_streams_come_through() -> None:
    bus = MemoryBus()
    async with bus.listen(subjects.WAKE_OUTBOX) as signals:
        await wake.through(bus)({"ZW_JOBS", "ZW_EVENTS"})
        async with asyncio.timeout(5):
            signal = await anext(signals)
    assert wake.named(signal.data) == {"ZW_EVENTS", "ZW_JOBS"}


def test_anything_else_names_no_stream_of_ours() -> None:
    assert not wake.named(b"") & {"ZW_EVENTS", "ZW_JOBS"}
    assert not wake.named(b"\xff\xfe,x") & {"ZW_EVENTS", "ZW_JOBS"}
