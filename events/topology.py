"""Makes the server's streams and durables match `events/streams.py`; safe to run at any time.

FastStream must not do this: its declaration resets limits that it does not know and overlooks
drift. What we do not name (replicas, placement) stays as the operator set it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StoreCompression,
    StreamConfig,
)

from events.nats_bus import TIMEOUT_SECONDS, connect, disconnect
from events.streams import DURABLES, STREAMS, Durable, Stream
from zeitwork import __version__
from zeitwork.errors import BrokerUnavailable, Conflict
from zeitwork.retry import patient

_START_SECONDS = 30.0
_UNLIMITED = -1
_VERSION_KEY = "zeitwork.version"  # of the program that made the last change
_CONFIG_KEY = "zeitwork.config"  # a short digest, so that drift shows in `nats stream info`


class TopologyRefused(Conflict):
    """The server does not take a stream or durable as `events/streams.py` wants it."""

    code = "topology_refused"


async def provision(
    js: JetStreamContext,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
) -> list[str]:
    """Create what is missing and update what differs; one line for each change made.

    Raises:
        BrokerUnavailable: the server does not answer.
        TopologyRefused: a change that a stream or durable cannot make in place.
    """
    changes = []
    for stream in streams:
        with _translated(f"stream {stream.name}"):
            changes += await _converge_stream(js, stream)
    for durable in durables:
        with _translated(f"durable {durable.name}"):
            changes += await _converge_durable(js, durable)
    return changes


async def provision_url(
    url: str,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
) -> list[str]:
    """`provision` over a connection of its own; waits up to 30 s for a server that starts."""
    client: Client = await patient(_START_SECONDS)(connect, url, name="topology")
    try:
        js = client.jetstream(timeout=TIMEOUT_SECONDS)
        return await provision(js, streams=streams, durables=durables)
    finally:
        await disconnect(client)


async def missing(
    js: JetStreamContext,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
) -> list[str]:
    """Names of streams and durables that the server does not know.

    Raises:
        BrokerUnavailable: the server does not answer.
    """
    with _translated("the topology"):
        found = await asyncio.gather(
            *(_found(js.stream_info(stream.name)) for stream in streams),
            *(_found(js.consumer_info(durable.stream, durable.name)) for durable in durables),
        )
    names = [stream.name for stream in streams] + [durable.name for durable in durables]
    return [name for name, there in zip(names, found, strict=True) if not there]


def stream_config(stream: Stream) -> StreamConfig:
    config = StreamConfig(
        name=stream.name,
        description=stream.description,
        subjects=list(stream.subjects),
        retention=RetentionPolicy(stream.retention),
        discard=DiscardPolicy(stream.discard),
        discard_new_per_subject=stream.discards_new_per_subject,
        max_age=stream.max_age,
        max_bytes=stream.max_bytes or _UNLIMITED,
        max_msgs=stream.max_msgs or _UNLIMITED,
        max_msgs_per_subject=stream.max_msgs_per_subject or _UNLIMITED,
        max_msg_size=stream.max_msg_size or _UNLIMITED,
        duplicate_window=stream.duplicate_window,
        compression=StoreCompression.S2 if stream.compression else StoreCompression.NONE,
        storage=StorageType.FILE,
        allow_atomic=stream.atomic,
        allow_direct=True,
        allow_msg_counter=stream.counter,
        deny_delete=stream.deny_delete,
    )
    return config.evolve(metadata=_metadata(config))


def consumer_config(durable: Durable) -> ConsumerConfig:
    config = ConsumerConfig(
        name=durable.name,
        durable_name=durable.name,
        description=durable.description,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=durable.ack_wait,
        max_deliver=durable.max_deliver,
        max_ack_pending=durable.max_ack_pending,
        filter_subjects=sorted(durable.filters),
    )
    return config.evolve(metadata=_metadata(config))


async def _converge_stream(js: JetStreamContext, stream: Stream) -> list[str]:
    wanted = stream_config(stream)
    try:
        actual = (await js.stream_info(stream.name)).config
    except nats.js.errors.NotFoundError:
        await js.add_stream(wanted)
        return [f"created stream {stream.name}"]
    differences = _differences(wanted, actual)
    if not differences:
        return []
    await js.update_stream(_merged(wanted, actual))
    return [f"updated stream {stream.name}: {', '.join(differences)}"]


async def _converge_durable(js: JetStreamContext, durable: Durable) -> list[str]:
    wanted = consumer_config(durable)
    try:
        actual = (await js.consumer_info(durable.stream, durable.name)).config
    except nats.js.errors.NotFoundError:
        await js.add_consumer(durable.stream, wanted)
        return [f"created durable {durable.name}"]
    if actual.filter_subject:  # the server's form for a filter made with the older field
        actual = actual.evolve(filter_subject=None, filter_subjects=[actual.filter_subject])
    differences = _differences(wanted, actual)
    if not differences:
        return []
    await js.add_consumer(durable.stream, _merged(wanted, actual))
    return [f"updated durable {durable.name}: {', '.join(differences)}"]


def _differences(wanted: Any, actual: Any) -> list[str]:
    """The fields in which a configuration is not as wanted, as text; unset ones do not count."""
    lines = []
    for name, value in _named(wanted).items():
        found = getattr(actual, name)
        if name == "metadata":
            if (found or {}).get(_CONFIG_KEY) != value[_CONFIG_KEY]:
                lines.append(name)
        elif _comparable(found) != _comparable(value):
            lines.append(f"{name} {_shown(found)} → {_shown(value)}")
    return lines


def _merged(wanted: Any, actual: Any) -> Any:
    """`actual` with what we name; the server's own metadata stays."""
    metadata = {**(actual.metadata or {}), **wanted.metadata}
    return actual.evolve(**{**_named(wanted), "metadata": metadata})


def _named(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {name: value for name, value in values.items() if value is not None}


def _comparable(value: Any) -> Any:
    """Lists as sets; the server leaves out what is empty, zero or false."""
    if isinstance(value, list):
        return frozenset(value)
    return value or None


def _shown(value: Any) -> str:
    return str(getattr(value, "value", value))


def _metadata(config: StreamConfig | ConsumerConfig) -> Mapping[str, str]:
    text = json.dumps(config.as_dict(), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {_VERSION_KEY: __version__, _CONFIG_KEY: digest}


async def _found(info: Awaitable[Any]) -> bool:
    try:
        await info
    except nats.js.errors.NotFoundError:
        return False
    return True


@contextmanager
def _translated(part: str) -> Iterator[None]:
    try:
        yield
    except nats.js.errors.ServiceUnavailableError as error:
        raise BrokerUnavailable(f"{part}: {error.description}") from error
    except nats.js.errors.APIError as error:
        raise TopologyRefused(
            f"{part}: {error.description}; change events/streams.py, or remove it on the server"
        ) from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise BrokerUnavailable(f"{part}: NATS did not answer: {reason}") from error
