"""A consumer process whose handler says that it has begun and never ends; somebody kills it.

`python -m tests.support.hanging_consumer URL`
"""

from __future__ import annotations

import asyncio
import sys

from typing_extensions import override

from consumers.binding import Binding
from consumers.outcomes import Outcome
from consumers.runtime import ConsumerRuntime
from events import streams
from events.builds import BuildRequested
from events.envelope import Envelope
from events.streams import Durable


class ShortLived(Durable):
    """A durable that the server gives up before the runtime would."""

    @property
    @override
    def max_deliver(self) -> int:
        return 2


SHORT_LIVED = ShortLived(
    streams.BUILDS_PRODUCTION.name,
    "Builds whose builders die",
    streams.JOBS.name,
    streams.BUILDS_PRODUCTION.filters,
    ack_wait=1.0,
    attempts=5,
)


async def kill_when_begun(url: str) -> None:
    """Run a consumer process until its handler has begun; then kill -9."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.hanging_consumer", url, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        assert line.startswith(b"begun")
    finally:
        process.kill()
        await process.wait()


async def main(url: str) -> None:
    runtime = ConsumerRuntime(url, [Binding(SHORT_LIVED, {BuildRequested: _hang})])
    await runtime.start()
    await asyncio.Event().wait()


async def _hang(envelope: Envelope) -> Outcome:
    print("begun", envelope.id, flush=True)
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
