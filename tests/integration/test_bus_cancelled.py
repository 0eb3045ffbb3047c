"""A cancelled task ends, even when the broker's answer comes in the same instant."""

from __future__ import annotations

import asyncio

from tests.support.consumers import World
from zeitwork.service import spawn

_ROUNDS = 40


async def test_a_cancellation_is_never_lost_in_a_publish(world: World) -> None:
    """Up to Python 3.11 `asyncio.wait_for`, which nats-py calls, takes the answer and goes on."""
    message = world.message()

    async def publish_for_ever() -> None:
        while True:
            await world.bus.publish([message])

    immortal = 0
    for number in range(_ROUNDS):
        task = spawn(publish_for_ever(), "publish")
        # From one round to the next the cancellation falls on another moment of a publish.
        await asyncio.sleep(0.002 + number * 1e-5)
        task.cancel()
        await asyncio.wait({task}, timeout=1)
        if not task.done():
            immortal += 1
            task.cancel()
            await asyncio.wait({task}, timeout=5)
    assert immortal == 0
