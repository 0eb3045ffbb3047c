"""Subjects as channels with parameters, and who takes what travels on them; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from events import parties, streams, subjects
from events.envelope import NO_PROJECT
from events.event import Event
from events.memory_log import matches
from events.streams import Durable

EVENTS: Final[Sequence[type[Event]]] = tuple(
    sorted(subjects.FACTS | subjects.JOBS.keys(), key=lambda event: event.event_type)
)
_PARAMETER = re.compile(r"\{\w+\}")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A token of a subject that differs from message to message."""

    description: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Channel:
    """Subjects of one form; `{name}` stands for a token, `{rest}` for one or more."""

    name: str
    address: str
    description: str
    events: tuple[type[Event], ...] = ()

    @property
    def examples(self) -> list[str]:
        """A subject for each value of the parameters whose values are known beforehand."""
        found = [self.address]
        for name, parameter in self.parameters.items():
            values = parameter.values or ("x",)
            found = [each.replace(f"{{{name}}}", value) for each in found for value in values]
        return found

    @property
    def stream(self) -> str:
        return streams.holding(self.examples[0]).name

    @property
    def parameters(self) -> dict[str, Parameter]:
        names = [found.strip("{}") for found in _PARAMETER.findall(self.address)]
        return {name: PARAMETERS[name] for name in names}


PARAMETERS: Final[Mapping[str, Parameter]] = {
    "class": Parameter("What it is for", get_args(subjects.JobClass)),
    "durable": Parameter("Name of the durable"),
    "id": Parameter("Id of the aggregate, as in `ce-subject`"),
    "partition": Parameter(
        "Stable hash of the project: CRC-32 modulo the number of partitions",
        tuple(str(number) for number in range(subjects.PARTITIONS)),
    ),
    "project": Parameter(f"Id of the project, or `{NO_PROJECT}`"),
    "reason": Parameter("Code of the error"),
    "rest": Parameter("The subject that the message had at first, without `zw.`"),
    "stream": Parameter("Name of the stream"),
    "word": Parameter("What the server did", ("MAX_DELIVERIES", "MSG_TERMINATED")),
}


def summary(event: type[Event]) -> str:
    """What an event says, in its own words."""
    return (event.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def channel(event: type[Event]) -> Channel:
    """The channel of an event type."""
    if event in subjects.JOBS:
        address = f"zw.job.{subjects.JOBS[event]}.{{class}}.{{project}}.{{id}}"
    else:
        address = f"zw.evt.{{partition}}.{event.event_type}.{{project}}.{{id}}"
    return Channel(event.event_type, address, summary(event), (event,))


DEAD_LETTERS: Final = Channel(
    "dead-letters",
    "zw.dlq.{stream}.{durable}.{reason}",
    "Messages that no attempt could handle: body and headers as they were, and why they are here",
)
ADVISORIES: Final = Channel(
    "advisories",
    "$JS.EVENT.ADVISORY.CONSUMER.{word}.{stream}.{durable}",
    "The server's word on messages that it stopped delivering",
)
REDRIVES: Final = Channel(
    "redrives",
    "zw.redrive.{durable}.{rest}",
    "Facts handed to one durable once more",
    tuple(event for event in EVENTS if event in subjects.FACTS),
)
CHANNELS: Final[Sequence[Channel]] = (
    *(channel(event) for event in EVENTS),
    ADVISORIES,
    DEAD_LETTERS,
    REDRIVES,
)


def takes(filters: Sequence[str], taken: Channel) -> bool:
    """True when one of the filters lets a channel's messages through."""
    return any(matches(pattern, subject) for pattern in filters for subject in taken.examples)


def takers(event: type[Event]) -> list[str]:
    """The durables and processes that get an event."""
    own = channel(event)
    durables = [durable.name for durable in streams.DURABLES if takes(durable.filters, own)]
    followers = [name for name, filters in parties.FOLLOWERS.items() if takes(filters, own)]
    return [*sorted(durables), *sorted(followers)]


def redriven(durable: Durable) -> tuple[type[Event], ...]:
    """The facts that a durable takes again when they are handed to it alone."""
    if subjects.redrive(durable.name) not in durable.filters:
        return ()
    return tuple(event for event in REDRIVES.events if takes(durable.filters, channel(event)))
