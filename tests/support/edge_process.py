"""`zeitwork serve proxy` as a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.cli import Cli
from tests.support.edge import ask, get
from tests.support.eventually import eventually
from tests.support.servers import free_port
from tests.support.upstreams import Message

NOWHERE = "127.0.0.1:1"


@asynccontextmanager
async def proxy_process(
    data: Path, *, nats_url: str = f"nats://{NOWHERE}"
) -> AsyncIterator[tuple[int, int]]:
    """One without database or cache, and without a broker unless there is one; its ports."""
    port, ops = free_port(), free_port()
    cli = Cli(
        {
            "ZEITWORK_DATA_DIR": str(data),
            "ZEITWORK_NATS_URL": nats_url,
            "ZEITWORK_DATABASE_URL": f"postgresql://u:p@{NOWHERE}/x",
            "ZEITWORK_CACHE_URL": f"redis://{NOWHERE}/0",
            "ZEITWORK_PROXY__PORT": str(port),
            "ZEITWORK_PROXY__OPS_PORT": str(ops),
        }
    )

    async def answers() -> Message | None:
        try:
            return await ask(port, get(host="any.test"))
        except OSError:
            return None

    async with cli.started("serve", "proxy", stdout=asyncio.subprocess.DEVNULL) as process:
        draining = asyncio.ensure_future(process.communicate())
        await eventually(answers, timeout=30)
        yield port, ops
        process.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(draining, 30)
        assert process.returncode == 0, errors
        assert b"Traceback" not in errors
