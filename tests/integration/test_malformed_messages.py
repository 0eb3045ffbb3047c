"""Messages that no client library would send never stop a consumer; what can be read is buried."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.consumers import Calls, World
from tests.support.eventually import eventually

HEADERS = {
    "none at all": b"NATS/1.0\r\n\r\n",
    "not even an end": b"NATS/1.0\r\n",
    "no colon": b"NATS/1.0\r\nno colon\r\n\r\n",
    "no name": b"NATS/1.0\r\n: x\r\n\r\n",
    "no text": b"NATS/1.0\r\nce-id: \xff\xfe\r\nce-\xff: x\r\n\r\n",
    "another protocol": b"HTTP/1.1\r\nx: y\r\n\r\n",
    "a status": b"NATS/1.0 503 No Responders\r\nce-id: x\r\n\r\n",
    "twice": b"NATS/1.0\r\nce-id: a\r\nce-id: b\r\n\r\n",
    "folded": b"NATS/1.0\r\nce-id: a\r\n b\r\n\r\n",
}
# The client takes it for the server's word that a pull has ended, so no handler ever gets it.
POSING = b"NATS/1.0\r\nStatus: 409\r\nDescription: Consumer Deleted\r\n\r\n"


@pytest.mark.parametrize("headers", HEADERS.values(), ids=list(HEADERS))
async def test_malformed_headers_are_buried_and_the_next_message_passes(
    world: World, headers: bytes
) -> None:
    calls = Calls()
    async with world.running(calls, concurrency=1):
        await _publish_by_hand(world, headers)
        (good,) = await world.publish()
        letter = await world.dead_letter()
        await eventually(lambda: bool(calls.envelopes))
        await world.wait_settled()
    assert [envelope.id for envelope in calls.envelopes] == [good.id]
    assert letter.headers["zw-error-code"] == "undecodable_event"
    assert letter.data == b"body"


async def test_a_message_that_poses_as_the_server_stops_nobody(world: World) -> None:
    calls = Calls()
    async with world.running(calls, concurrency=1):
        for _ in range(3):
            await _publish_by_hand(world, POSING)
        sent = await world.publish(5)
        await eventually(lambda: len(calls.envelopes) == len(sent))
    assert {envelope.id for envelope in calls.envelopes} == {message.id for message in sent}


async def _publish_by_hand(world: World, headers: bytes) -> None:
    subject = world.message(9).subject
    address = urlsplit(world.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    hello: dict[str, Any] = {"verbose": False, "headers": True, "auth_token": address.username}
    await reader.readline()
    writer.write(b"CONNECT %s\r\n" % json.dumps(hello).encode())
    writer.write(b"HPUB %s %d %d\r\n" % (subject.encode(), len(headers), len(headers) + 4))
    writer.write(headers + b"body\r\nPING\r\n")
    assert await asyncio.wait_for(reader.readline(), 20) == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()
