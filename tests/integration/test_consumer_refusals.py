"""A server that refuses the consumers' credentials: told once, and work goes on afterwards."""

from __future__ import annotations

import asyncio
import gc
from functools import partial

import pytest
import structlog
from structlog.testing import capture_logs

from cli.embedded.nats import NatsServer
from consumers.runtime import ConsumerRuntime
from events.topology import provision_url
from tests.support.consumers import Calls, until, world_on
from tests.support.eventually import eventually
from tests.support.servers import ServerHost


async def restarted(server_host: ServerHost, server: NatsServer, token: str) -> None:
    """The server dies and comes back, and takes another token."""
    server.kill()
    await asyncio.to_thread(server_host.run, server.wait())
    (server.directory / "token").write_text(token)
    await asyncio.to_thread(server_host.run, server.start())


# nats-py leaves its socket open when it is refused; collected here, not in another test.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_a_refusal_is_a_warning_once_each_time_that_it_begins(
    server_host: ServerHost, own_nats_server: NatsServer
) -> None:
    server = own_nats_server
    url = server.url.get_secret_value()
    token = (server.directory / "token").read_text()
    await provision_url(url, durables=[])
    calls = Calls()
    structlog.reset_defaults()  # a test before this one may have left debug lines out
    with capture_logs() as lines:

        def refusals() -> list[str]:
            return [
                line["log_level"]
                for line in lines
                if (line["event"], line.get("connection")) == ("bus error", "consumers")
                and "authorization violation" in line["error"].lower()
            ]

        def more_than(count: int) -> bool:
            return len(refusals()) > count

        async with world_on(url) as world, world.running(calls) as runtime:
            for period in (1, 2):
                seen = len(refusals())
                await restarted(server_host, server, "another")
                await eventually(partial(more_than, seen + 2), timeout=20)
                await restarted(server_host, server, token)
                await until(lambda: _is_ready(runtime))
                levels = refusals()[seen:]
                assert levels == ["warning", *["debug"] * (len(levels) - 1)], period
            await eventually(lambda: world.bus.client.is_connected)
            await world.publish()
            await eventually(lambda: len(calls.envelopes) == 1)
    gc.collect()


async def _is_ready(runtime: ConsumerRuntime) -> bool:
    return await runtime.ready() is None
