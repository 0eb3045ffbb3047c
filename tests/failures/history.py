"""Judges what a platform did against what its client was told: the invariants, as pure functions.

Each check takes a `History` and answers with complaints; none means that the invariant held. The
numbers are those of the architecture: I1 nothing acknowledged is lost, I2 each event takes effect
once per consumer, I3 every aggregate moves legally, I4 visitors reach only what is ready. (I5 to
I7, what is there once the faults have stopped, are looked up in `tests/failures/evidence.py`.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from events.states import MOVES, BuildState, DeploymentState, InstanceState


@dataclass(frozen=True)
class Push:
    """A webhook as its sender knows it.

    Attributes:
        acknowledged: it was answered with 202, at the first or at a later attempt.
        deploys: a project follows its branch.
    """

    guid: str
    sha: str
    acknowledged: bool = True
    deploys: bool = True


@dataclass(frozen=True)
class Fact:
    """A row of the event log."""

    event_id: str
    type: str
    aggregate_id: str
    version: int = 1
    causation_id: str | None = None
    actor: str = "test"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """Everything that is known once a platform has come to rest.

    Attributes:
        deliveries: id of the stored delivery, by the guid that its sender gave it.
        facts: the event log, in its order.
        streamed: event ids in the order of ZW_EVENTS.
        consumers: which consumers take an event type.
        taken: (consumer, event id), as the inbox has them. Its key admits no pair twice, so a
            second effect shows only in what was said.
        buried: (consumer, event id) of the dead letters.
        states: what the rows say of aggregates, by id.
        replicas: ready instances that a deployment needs to serve, by its id.
    """

    pushes: Sequence[Push] = ()
    deliveries: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[Fact] = ()
    streamed: Sequence[str] = ()
    consumers: Mapping[str, Collection[str]] = field(default_factory=dict)
    taken: Collection[tuple[str, str]] = ()
    buried: Collection[tuple[str, str]] = ()
    states: Mapping[str, StrEnum] = field(default_factory=dict)
    replicas: Mapping[str, int] = field(default_factory=dict)


# A job travels on another stream, and is gone from it once it is done.
JOBS: Final = frozenset({"build.requested", "operation.requested"})
# Says only "look", as often as there was a reason to, and has no version.
_HINTS: Final = frozenset({"node.desired_changed"})
_FIRST: Final = {
    "deployment.created": DeploymentState.QUEUED,
    "build.requested": BuildState.QUEUED,
    "instance.created": InstanceState.PENDING,
}
_NEXT: Final[Mapping[str, StrEnum]] = {
    **{f"deployment.{word}": DeploymentState(word) for word in
       ("building", "deploying", "superseded", "failed", "cancelled", "stopped")},
    "deployment.activated": DeploymentState.ACTIVE,
    "build.started": BuildState.RUNNING,
    **{f"build.{word}": BuildState(word) for word in ("succeeded", "failed", "cancelled")},
    "instance.unready": InstanceState.STARTING,
    **{f"instance.{word}": InstanceState(word) for word in
       ("ready", "draining", "stopped", "failed", "lost")},
}  # fmt: skip

# After these an instance gets no visitor until it says that it is ready again.
_NOT_READY: Final = frozenset(
    type_
    for type_, state in _NEXT.items()
    if isinstance(state, InstanceState) and state is not InstanceState.READY
)


def acknowledged_is_stored(history: History) -> list[str]:
    """I1: a 202 means that the delivery is a row, and its event in the log and in the stream."""
    received = Counter(fact.aggregate_id for fact in history.facts if fact.type == "push.received")
    streamed = set(history.streamed)
    found = [
        f"I1 {push.guid} was acknowledged and has no delivery"
        for push in history.pushes
        if push.acknowledged and push.guid not in history.deliveries
    ]
    found += [
        f"I1 {guid} has {received[id_]} push.received"
        for guid, id_ in history.deliveries.items()
        if received[id_] != 1
    ]
    found += [
        f"I1 {fact.type} {fact.event_id} of {fact.aggregate_id} never reached its stream"
        for fact in history.facts
        if fact.type not in JOBS and fact.event_id not in streamed
    ]
    return found


def streamed_once_in_order(history: History) -> list[str]:
    """I2 and I3 on the way: no event twice in the stream, none before an older one of its own."""
    found = [
        f"I2 {event_id} is {count} times in the stream"
        for event_id, count in Counter(history.streamed).items()
        if count > 1
    ]
    place = {event_id: index for index, event_id in enumerate(history.streamed)}
    last: dict[str, Fact] = {}
    for fact in history.facts:
        if fact.event_id not in place:
            continue
        before = last.get(fact.aggregate_id)
        if before is not None and place[before.event_id] > place[fact.event_id]:
            found.append(f"I3 {fact.type} of {fact.aggregate_id} overtook {before.type}")
        last[fact.aggregate_id] = fact
    return found


def taken_once(history: History) -> list[str]:
    """I2: every consumer of an event has taken it, and nobody said twice what follows from it."""
    settled = {*history.taken, *history.buried}
    found = [
        f"I2 {consumer} never took {fact.type} {fact.event_id}"
        for fact in history.facts
        for consumer in sorted(history.consumers.get(fact.type, ()))
        if (consumer, fact.event_id) not in settled
    ]
    effects = Counter(
        (fact.actor, fact.causation_id, fact.type, fact.aggregate_id)
        for fact in history.facts
        if fact.causation_id is not None and fact.type not in _HINTS
    )
    found += [
        f"I2 {actor} said {type_} of {aggregate} {count} times for {cause}"
        for (actor, cause, type_, aggregate), count in effects.items()
        if count > 1
    ]
    return found


def one_deployment_a_push(history: History) -> list[str]:
    """I2 as the sender sees it."""
    pushed = {
        fact.event_id: fact.aggregate_id for fact in history.facts if fact.type == "push.received"
    }
    deployed: Counter[str] = Counter()
    commits: dict[str, set[str]] = defaultdict(set)
    for fact in history.facts:
        if fact.type == "deployment.created" and fact.causation_id in pushed:
            delivery = pushed[fact.causation_id]
            deployed[delivery] += 1
            commits[delivery].add(fact.data["commit_sha"])
    found = []
    for push in history.pushes:
        delivery_id = history.deliveries.get(push.guid)
        if delivery_id is None:
            continue  # unless it was acknowledged, it may as well not have arrived
        wanted = 1 if push.deploys else 0
        if deployed[delivery_id] != wanted:
            found.append(f"I2 {push.guid} made {deployed[delivery_id]} deployments, not {wanted}")
        elif commits[delivery_id] - {push.sha}:
            found.append(f"I2 {push.guid} deployed another commit than {push.sha}")
    return found


def legal_paths(history: History) -> list[str]:
    """I3: each aggregate's events are a path of its state machine, up to what its row says."""
    found = []
    now: dict[str, StrEnum] = {}
    versions: dict[str, int] = {}
    for fact in history.facts:
        first, target = _FIRST.get(fact.type), _NEXT.get(fact.type)
        id_ = fact.aggregate_id
        if fact.type in JOBS and id_ in now:
            # Asked for again, since whoever took the request had died; there it does not go back.
            if not MOVES[type(now[id_])][now[id_]]:
                found.append(f"I3 {fact.type} of {id_} after its end as {now[id_]}")
        elif first is not None:
            if id_ in now:
                found.append(f"I3 {id_} began twice")
            now[id_] = first
        elif target is not None:
            current = now.get(id_)
            if current is None:
                found.append(f"I3 {fact.type} of {id_}, which never began")
            elif target is not current and target not in MOVES[type(current)][current]:
                found.append(f"I3 {id_} went from {current} to {target}")
            now[id_] = target
        if fact.type in _HINTS:
            continue
        if fact.version < versions.get(id_, 0):
            found.append(f"I3 {fact.type} of {id_} is version {fact.version} behind a newer one")
        versions[id_] = fact.version
    found += [
        f"I3 {id_} is {state}, and was last said to be {now[id_]}"
        for id_, state in history.states.items()
        if id_ in now and not _says_the_same(now[id_], state)
    ]
    return found


def _says_the_same(said: StrEnum, row: StrEnum) -> bool:
    """That an instance starts is said only of one that was ready before."""
    return said is row or (said is InstanceState.PENDING and row is InstanceState.STARTING)


def ready_before_routed(history: History) -> list[str]:
    """I4: what goes live has its ready instances, and routes lead to those alone.

    Ready as far as the log had come: an instance that was ready and has left does not count. One
    that leaves while the router decides is named as well: until the next look it gets visitors.
    """
    found = []
    ready: dict[str, set[str]] = defaultdict(set)
    for fact in history.facts:
        match fact.type:
            case "instance.ready":
                ready[fact.data["deployment_id"]].add(fact.aggregate_id)
            case _ if fact.type in _NOT_READY:
                ready[fact.data["deployment_id"]].discard(fact.aggregate_id)
            case "deployment.activated":
                there, wanted = len(ready[fact.aggregate_id]), history.replicas[fact.aggregate_id]
                if there < wanted:
                    found.append(
                        f"I4 {fact.aggregate_id} went live with {there} of {wanted} instances"
                    )
            case "route.changed":
                route = fact.data["route"]
                fit = ready[route["deployment_id"]] if route["deployment_id"] else set()
                found += [
                    f"I4 {route['host']} was led to {target['instance_id']}, not ready then"
                    for target in route["targets"]
                    if target["instance_id"] not in fit
                ]
            case _:
                pass
    return found


CHECKS: Final[Sequence[Callable[[History], list[str]]]] = (
    acknowledged_is_stored,
    streamed_once_in_order,
    taken_once,
    one_deployment_a_push,
    legal_paths,
    ready_before_routed,
)


def complaints(history: History) -> list[str]:
    return [complaint for check in CHECKS for complaint in check(history)]
