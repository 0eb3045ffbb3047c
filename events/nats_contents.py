"""Reads once through what a stream holds, headers only, by a consumer of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from events.bus import Stored
from zeitwork import ids

_BATCH = 500
_FETCH_SECONDS = 5.0
_FORGET_SECONDS = 60.0  # the server drops a consumer that nobody asked for this long


async def read(
    jetstream: JetStreamContext, stream: str, subject: str
) -> AsyncGenerator[Stored, None]:
    """The messages that are there when the reading begins, in order.

    Raises:
        nats.errors.Error: the server does not answer, or there is no such stream.
    """
    name = f"contents-{ids.token(12)}"
    consumer = await jetstream.add_consumer(
        stream,
        ConsumerConfig(
            name=name,
            description=f"reads through {subject}",
            filter_subject=subject,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.NONE,
            headers_only=True,
            inactive_threshold=_FORGET_SECONDS,
            mem_storage=True,
            num_replicas=1,
        ),
    )
    left = consumer.num_pending or 0
    pull = await jetstream.pull_subscribe_bind(name, stream)
    try:
        while left > 0:
            for message in await pull.fetch(min(left, _BATCH), timeout=_FETCH_SECONDS):
                place = message.metadata
                # What expires during the reading is not waited for, what comes is not followed.
                left = min(left - 1, place.num_pending)
                headers = dict(message.headers or {})
                yield Stored(message.subject, b"", headers, place.sequence.stream)
    finally:
        with contextlib.suppress(nats.errors.Error):
            await pull.unsubscribe()
            await jetstream.delete_consumer(stream, name)
