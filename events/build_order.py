"""Which build comes next, and when each of the others may expect to begin; pure.

Production before previews, then the project with the fewest builds under way, then whoever has
waited longest. What a dead builder left behind goes before everything: it has had its turn.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum


class Obstacle(StrEnum):
    """Why a build cannot begin although it is queued."""

    BUILDER = "every builder slot of the machine is taken"
    ORGANISATION = "the organisation has as many builds under way as it may"
    ENVIRONMENT = "an older build of the same environment is under way"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A build that nobody works on.

    Attributes:
        build_id: sorts by age.
        interrupted: a builder began it and is gone.
        serial: it waits for older builds of its environment.
    """

    build_id: str
    organisation_id: str
    project_id: str
    environment_id: str
    priority: int = 0
    interrupted: bool = False
    serial: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A build that a builder holds; `builder` is the machine's name."""

    build_id: str
    organisation_id: str
    project_id: str
    environment_id: str
    builder: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Limits:
    """How many builds at once: of one organisation, and on the machine that asks (None: any)."""

    per_organisation: int
    builder: str | None = None
    slots: int = 0


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits and what runs at one moment."""

    waiting: Sequence[Waiting]
    running: Sequence[Running]


@dataclass(frozen=True, slots=True)
class Expectation:
    """A waiting build's place (the first is 1), and how long until it begins.

    Attributes:
        begins_in: None where nobody can tell: no builder is there.
    """

    position: int
    begins_in: timedelta | None


def obstacle(build: Waiting, queue: Queue, limits: Limits) -> Obstacle | None:
    """What keeps a build from beginning on the machine that asks."""
    if limits.builder is not None:
        taken = sum(each.builder == limits.builder for each in queue.running)
        if taken >= limits.slots:
            return Obstacle.BUILDER
    same = sum(each.organisation_id == build.organisation_id for each in queue.running)
    if same >= limits.per_organisation:
        return Obstacle.ORGANISATION
    if build.serial and _behind_another(build, queue):
        return Obstacle.ENVIRONMENT
    return None


def ordered(queue: Queue) -> list[Waiting]:
    """What waits, in the order in which it is tried."""
    under_way = Counter(each.project_id for each in queue.running)
    return sorted(queue.waiting, key=lambda build: _rank(build, under_way))


def choose(queue: Queue, limits: Limits) -> Waiting | None:
    """The build that begins next, if one may."""
    return next((build for build in ordered(queue) if obstacle(build, queue, limits) is None), None)


def startable(queue: Queue, limits: Limits, now: datetime) -> list[Waiting]:
    """All builds that may begin now, one after the other."""
    found = []
    while (build := choose(queue, limits)) is not None:
        found.append(build)
        queue = _begun(queue, build, now, builder=limits.builder or "")
    return found


def forecast(
    queue: Queue,
    limits: Limits,
    *,
    slots: int,
    seconds: Mapping[str, float],
    now: datetime,
) -> dict[str, Expectation]:
    """What each waiting build may expect, if nothing is added and builds take as long as usual.

    Args:
        slots: of all builders together.
        seconds: how long a build of a project usually takes; every project is in it.
    """
    ends = [
        (_end(each.started_at, seconds[each.project_id], now), each.build_id)
        for each in queue.running
    ]
    heapq.heapify(ends)
    anywhere = replace(limits, builder=None)
    at, found = now, dict[str, Expectation]()
    while queue.waiting:
        build = choose(queue, anywhere) if len(queue.running) < slots else None
        if build is None:
            if not ends:
                break  # no builder, or a limit of nothing at all
            ended_at, ended = heapq.heappop(ends)
            at = max(at, ended_at)
            left = [each for each in queue.running if each.build_id != ended]
            queue = replace(queue, running=left)
            continue
        found[build.build_id] = Expectation(len(found) + 1, at - now)
        heapq.heappush(ends, (_end(at, seconds[build.project_id], at), build.build_id))
        queue = _begun(queue, build, at, builder="")
    behind = len(found)
    for number, build in enumerate(ordered(queue), behind + 1):
        found[build.build_id] = Expectation(number, None)
    return found


def _rank(build: Waiting, under_way: Counter[str]) -> tuple[bool, int, int, str]:
    return (
        not build.interrupted,
        build.priority,
        under_way[build.project_id],
        build.build_id,
    )


def _behind_another(build: Waiting, queue: Queue) -> bool:
    return any(each.environment_id == build.environment_id for each in queue.running) or any(
        each.environment_id == build.environment_id and each.build_id < build.build_id
        for each in queue.waiting
    )


def _end(started_at: datetime, seconds: float, now: datetime) -> datetime:
    """When a build ends; one that takes longer than usual is about to."""
    return max(now, started_at + timedelta(seconds=seconds))


def _begun(queue: Queue, build: Waiting, at: datetime, *, builder: str) -> Queue:
    running = Running(
        build_id=build.build_id,
        organisation_id=build.organisation_id,
        project_id=build.project_id,
        environment_id=build.environment_id,
        builder=builder,
        started_at=at,
    )
    left = [each for each in queue.waiting if each.build_id != build.build_id]
    return Queue(left, [*queue.running, running])
