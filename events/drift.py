"""What streams and durables should be on the server, and how what is there differs; pure.

`events/topology.py` makes them so. FastStream must not: its declaration resets limits that it does
not know and overlooks drift. What we do not name (placement, say) stays as the operator set it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

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
from typing_extensions import override

from events.streams import Durable, Stream
from zeitwork import __version__
from zeitwork.errors import Conflict

_UNLIMITED = -1
_VERSION_KEY = "zeitwork.version"  # of the program that made the last change
_CONFIG_KEY = "zeitwork.config"  # a short digest, so that drift shows in `nats stream info`
# A lower value of these throws stored messages away, or copies of them.
_RETAINING = frozenset({"max_age", "max_bytes", "max_msgs", "max_msgs_per_subject", "num_replicas"})
# Where a durable began is history: a guard that made it anew began behind what was handled.
_HISTORY = frozenset({"deliver_policy", "opt_start_seq"})


class TopologyRefused(Conflict):
    """The server does not take a stream or durable as `events/streams.py` wants it."""

    code = "topology_refused"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that is not as wanted; both values as text."""

    field: str
    found: str
    wanted: str
    shrinks: bool = False

    @override
    def __str__(self) -> str:
        return f"{self.field} {self.found} → {self.wanted}"


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to one stream or durable.

    Attributes:
        config: what to send to the server.
        differences: empty when it is to be created.
    """

    action: Literal["create", "update"]
    kind: Literal["stream", "durable"]
    name: str
    stream: str
    config: StreamConfig | ConsumerConfig
    differences: tuple[Difference, ...] = ()

    @property
    def shrinks(self) -> bool:
        """True when it would throw stored messages away."""
        return any(difference.shrinks for difference in self.differences)

    @override
    def __str__(self) -> str:
        return f"{self.action} {self._what}"

    @property
    def done(self) -> str:
        """What to say once it is made."""
        return f"{self.action}d {self._what}"

    @property
    def _what(self) -> str:
        text = f"{self.kind} {self.name}"
        if self.differences:
            text += ": " + ", ".join(str(difference) for difference in self.differences)
        return text


def stream_config(stream: Stream, *, replicas: int = 1) -> StreamConfig:
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
        num_replicas=replicas,
        allow_atomic=stream.atomic,
        allow_direct=True,
        allow_msg_counter=stream.counter,
        deny_delete=stream.deny_delete,
    )
    return config.evolve(metadata=_metadata(config))


def consumer_config(durable: Durable, *, start_sequence: int | None = None) -> ConsumerConfig:
    """The configuration of a durable.

    Args:
        start_sequence: where it begins; by default with the first message that the stream holds.
    """
    config = ConsumerConfig(
        name=durable.name,
        durable_name=durable.name,
        description=durable.description,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=durable.ack_wait,
        max_deliver=durable.max_deliver,
        max_ack_pending=durable.max_ack_pending,
        filter_subjects=sorted(durable.filters),
    )
    metadata = _metadata(config)
    if start_sequence is None:
        return config.evolve(metadata=metadata, deliver_policy=DeliverPolicy.ALL)
    return config.evolve(
        metadata=metadata,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=start_sequence,
    )


def stream_change(stream: Stream, actual: StreamConfig | None, *, replicas: int) -> Change | None:
    """What to do so that the stream is as wanted; None when it is."""
    wanted = stream_config(stream, replicas=replicas)
    if actual is None:
        return Change("create", "stream", stream.name, stream.name, wanted)
    found = differences(wanted, actual)
    if not found:
        return None
    merged = _merged(wanted, actual)
    return Change("update", "stream", stream.name, stream.name, merged, found)


def durable_change(
    durable: Durable, actual: ConsumerConfig | None, *, start_sequence: int | None = None
) -> Change | None:
    """What to do so that the durable is as wanted; None when it is."""
    wanted = consumer_config(durable, start_sequence=start_sequence)
    if actual is None:
        return Change("create", "durable", durable.name, durable.stream, wanted)
    if actual.filter_subject:  # the server's form for a filter made with the older field
        actual = actual.evolve(filter_subject=None, filter_subjects=[actual.filter_subject])
    found = differences(wanted, actual)
    if not found:
        return None
    merged = _merged(wanted, actual)
    return Change("update", "durable", durable.name, durable.stream, merged, found)


def differences(wanted: Any, actual: Any) -> tuple[Difference, ...]:
    """The fields in which a configuration is not as wanted; unset ones do not count."""
    found = []
    for name, value in _named(wanted).items():
        there = getattr(actual, name)
        if name == "metadata":
            if (there or {}).get(_CONFIG_KEY) != value[_CONFIG_KEY]:
                old = (there or {}).get(_CONFIG_KEY, "none")
                found.append(Difference(name, old, value[_CONFIG_KEY]))
        elif _comparable(there) != _comparable(value):
            shrinks = name in _RETAINING and _size(value) < _size(there)
            found.append(Difference(name, _shown(there), _shown(value), shrinks))
    return tuple(found)


def _merged(wanted: Any, actual: Any) -> Any:
    """`actual` with what we name; the server's own metadata stays."""
    metadata = {**(actual.metadata or {}), **wanted.metadata}
    return actual.evolve(**{**_named(wanted), "metadata": metadata})


def _named(config: Any) -> dict[str, Any]:
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    return {
        name: value for name, value in values.items() if value is not None and name not in _HISTORY
    }


def _comparable(value: Any) -> Any:
    """Lists as sets; the server leaves out what is empty, zero or false."""
    if isinstance(value, list):
        return frozenset(value)
    return value or None


def _size(value: Any) -> float:
    """A limit as a number that can be compared: none is infinite."""
    return float(value) if value is not None and value > 0 else float("inf")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in sorted(value))
    return str(getattr(value, "value", value))


def _metadata(config: StreamConfig | ConsumerConfig) -> Mapping[str, str]:
    text = json.dumps(config.as_dict(), sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {_VERSION_KEY: __version__, _CONFIG_KEY: digest}
