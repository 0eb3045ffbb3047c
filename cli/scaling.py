"""Which processes a platform on one machine has: one a service, and replicas of scaled groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zeitwork.errors import InvalidInput

SERVICES: Final = ("api", "consumers", "proxy", "node")
# Of all groups together: each is a process of about 100 MB with connections of its own to a
# PostgreSQL that takes a hundred.
MOST_REPLICAS: Final = 16
_SCALE = re.compile(r"(?P<group>[a-z][a-z-]*)=(?P<count>-?[0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        name: in logs, in `doctor` and of its operations port.
        service: what `zeitwork serve` runs in it.
        groups: the consumer groups that it is limited to; empty is no limit.
        replica: its number among those of its group; 0 where there is one of it only.
    """

    name: str
    service: str
    groups: tuple[str, ...] = ()
    replica: int = 0


UNSCALED: Final = tuple(Process(service, service) for service in SERVICES)


def parse(scale: Sequence[str], *, groups: Sequence[str]) -> dict[str, int]:
    """`group=count` texts as numbers by group.

    Raises:
        InvalidInput: a text is not of that form, or asks for what there cannot be.
    """
    found: dict[str, int] = {}
    for text in scale:
        matched = _SCALE.fullmatch(text)
        if matched is None:
            raise InvalidInput(f"--scale {text} is not of the form GROUP=COUNT, like builds=3.")
        group, count = matched["group"], int(matched["count"])
        if group not in groups:
            raise InvalidInput(f"There is no group {group}; groups are {', '.join(groups)}.")
        if group in found:
            raise InvalidInput(f"--scale names {group} twice; give one number.")
        if count < 1:
            raise InvalidInput(
                f"--scale {text} would leave the events of {group} unhandled: give 1 or more."
            )
        found[group] = count
    if sum(found.values()) > MOST_REPLICAS:
        raise InvalidInput(
            f"--scale asks for {sum(found.values())} processes, and at most {MOST_REPLICAS} run "
            "on one machine; start `zeitwork serve consumers --only GROUP` on others."
        )
    return found


def processes(scale: Mapping[str, int], *, groups: Sequence[str]) -> tuple[Process, ...]:
    """The processes in the order in which they start; groups that are not scaled stay together."""
    if not scale:
        return UNSCALED
    rest = tuple(group for group in groups if group not in scale)
    consumers = [Process("consumers", "consumers", rest)] if rest else []
    consumers += [
        Process(f"consumers-{group}-{replica}", "consumers", (group,), replica)
        for group, count in scale.items()
        for replica in range(1, count + 1)
    ]
    return tuple(
        process
        for each in UNSCALED
        for process in (consumers if each.service == "consumers" else [each])
    )
