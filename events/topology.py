"""Makes the server's streams and durables match `events/streams.py`; safe to run at any time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig

from events.cancellation import heeded
from events.drift import Change, TopologyRefused, durable_change, stream_change
from events.nats_bus import TIMEOUT_SECONDS, connect, disconnect
from events.streams import DURABLES, STREAMS, Durable, Stream
from zeitwork import logs
from zeitwork.errors import BrokerUnavailable
from zeitwork.retry import patient

_log = logs.get(__name__)
_START_SECONDS = 30.0
_T = TypeVar("_T")


async def plan(
    js: JetStreamContext,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
    replicas: int = 1,
    positions: Mapping[str, int] | None = None,
) -> list[Change]:
    """What is missing and what differs; nothing is changed.

    Args:
        replicas: how many servers are to hold a copy of each stream.
        positions: the last handled sequence of durables, by name: one that has to be made anew
            starts behind it, unless its stream has to be made anew too.

    Raises:
        BrokerUnavailable: the server does not answer.
    """
    with _translated("the topology"):
        infos = await asyncio.gather(*(_found(js.stream_info, one.name) for one in streams))
        found = await asyncio.gather(
            *(_found(js.consumer_info, one.stream, one.name) for one in durables)
        )
    changes = []
    anew = set()
    for stream, info in zip(streams, infos, strict=True):
        if info is None:
            anew.add(stream.name)
        config = None if info is None else info.config
        changes.append(stream_change(stream, config, replicas=replicas))
    for durable, there in zip(durables, found, strict=True):
        position = None if durable.stream in anew else (positions or {}).get(durable.name)
        changes.append(
            durable_change(
                durable,
                None if there is None else there.config,
                start_sequence=None if position is None else position + 1,
            )
        )
    return [change for change in changes if change is not None]


async def apply(js: JetStreamContext, changes: Sequence[Change], *, force: bool = False) -> None:
    """Make changes.

    Args:
        force: make also those that throw stored messages away; without it they are refused before
            any change is made.

    Raises:
        BrokerUnavailable: the server does not answer.
        TopologyRefused: a change that a stream or durable cannot make in place, or that shrinks.
    """
    shrinking = [str(change) for change in changes if change.shrinks]
    if shrinking and not force:
        raise TopologyRefused(
            f"this would throw stored messages away: {'; '.join(shrinking)}. "
            "`zeitwork events topology apply --force` does it all the same"
        )
    for change in changes:
        with _translated(f"{change.kind} {change.name}"):
            await _make(js, change)


async def provision(
    js: JetStreamContext,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
    replicas: int = 1,
    positions: Mapping[str, int] | None = None,
) -> list[str]:
    """Create what is missing and update what differs; one line for each change made.

    What would throw stored messages away is left as it is, with a warning: a process that starts
    must not decide that. See `plan` for the arguments.

    Raises:
        BrokerUnavailable, TopologyRefused: see `apply`.
    """
    changes = await plan(
        js, streams=streams, durables=durables, replicas=replicas, positions=positions
    )
    for change in changes:
        if change.shrinks:
            _log.warning("topology not shrunk", change=str(change))
    safe = [change for change in changes if not change.shrinks]
    await apply(js, safe)
    return [change.done for change in safe]


async def provision_url(
    url: str,
    *,
    streams: Sequence[Stream] = STREAMS,
    durables: Sequence[Durable] = DURABLES,
    replicas: int = 1,
) -> list[str]:
    """`provision` over a connection of its own; waits up to 30 s for a server that starts."""
    async with jetstream(url) as js:
        return await provision(js, streams=streams, durables=durables, replicas=replicas)


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """JetStream over a connection of its own; waits up to 30 s for a server that starts."""
    client: Client = await patient(_START_SECONDS)(connect, url, name="topology")
    try:
        yield client.jetstream(timeout=TIMEOUT_SECONDS)
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
    changes = await plan(js, streams=streams, durables=durables)
    return [change.name for change in changes if change.action == "create"]


async def births(js: JetStreamContext, streams: Sequence[Stream]) -> dict[str, str]:
    """When each stream was made, by name; those that do not exist are left out.

    Raises:
        BrokerUnavailable: the server does not answer.
    """
    with _translated("the streams"):
        infos = await asyncio.gather(*(_found(js.stream_info, one.name) for one in streams))
    return {str(info.config.name): str(info.created) for info in infos if info is not None}


async def positions(js: JetStreamContext, durables: Sequence[Durable]) -> dict[str, int]:
    """The sequence up to which each durable has handled everything; missing ones are left out.

    Raises:
        BrokerUnavailable: the server does not answer.
    """
    with _translated("the durables"):
        infos = await asyncio.gather(
            *(_found(js.consumer_info, one.stream, one.name) for one in durables)
        )
    return {
        info.name: 0 if info.ack_floor is None else info.ack_floor.stream_seq
        for info in infos
        if info is not None
    }


async def _make(js: JetStreamContext, change: Change) -> None:
    match change.config:
        case StreamConfig() if change.action == "create":
            await js.add_stream(change.config)
        case StreamConfig():
            await js.update_stream(change.config)
        case ConsumerConfig():
            await js.add_consumer(change.stream, change.config)


async def _found(info: Callable[..., Awaitable[_T]], *names: str) -> _T | None:
    try:
        return await info(*names)
    except nats.js.errors.NotFoundError:
        return None


@contextmanager
def _translated(part: str) -> Iterator[None]:
    try:
        with heeded():
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
