"""The judge itself: on planted histories it says what is wrong, and nothing of what is right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from events.states import DeploymentState, InstanceState
from tests.failures.history import CHECKS, Fact, History, Push, complaints, legal_paths

PUSH = Fact("e1", "push.received", "whd")
CREATED = Fact(
    "e2", "deployment.created", "dep", causation_id="e1", actor="consumer:github-v1",
    data={"commit_sha": "abc"},
)  # fmt: skip
DEPLOYING = Fact("e3", "deployment.deploying", "dep", 2, causation_id="b1")
INSTANCE = Fact("e4", "instance.created", "ins", causation_id="b1")
READY = Fact("e5", "instance.ready", "ins", 2, data={"deployment_id": "dep"})
ACTIVE = Fact("e6", "deployment.activated", "dep", 3, causation_id="e5")
TARGET = {"instance_id": "ins", "host": "10.0.0.1", "port": 1}
ROUTE = Fact(
    "e7", "route.changed", "env", causation_id="e6", actor="consumer:routing-v1",
    data={"route": {"host": "shop.test", "deployment_id": "dep", "targets": [TARGET]}},
)  # fmt: skip
FACTS = [PUSH, CREATED, DEPLOYING, INSTANCE, READY, ACTIVE, ROUTE]
GOOD = History(
    pushes=[Push("guid", "abc")],
    deliveries={"guid": "whd"},
    facts=FACTS,
    streamed=[fact.event_id for fact in FACTS],
    consumers={"push.received": {"github-v1"}, "instance.ready": {"deployments-v1", "routing-v1"}},
    taken={("github-v1", "e1"), ("deployments-v1", "e5"), ("routing-v1", "e5")},
    states={"dep": DeploymentState.ACTIVE, "ins": InstanceState.READY},
    replicas={"dep": 1},
)


def without(*events: str) -> list[Fact]:
    return [fact for fact in FACTS if fact.event_id not in events]


def test_a_push_that_went_live_is_nothing_to_complain_about() -> None:
    assert complaints(GOOD) == []
    assert complaints(History()) == []


def test_what_was_never_acknowledged_may_be_lost() -> None:
    unheard = Push("other", "abc", acknowledged=False)
    assert complaints(replace(GOOD, pushes=[*GOOD.pushes, unheard])) == []


def test_what_was_buried_need_not_be_taken() -> None:
    letter = ("routing-v1", "e5")
    assert complaints(replace(GOOD, taken={*GOOD.taken} - {letter}, buried={letter})) == []


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            {"pushes": [*GOOD.pushes, Push("lost", "abc")]},
            "I1 lost was acknowledged and has no delivery",
        ),
        ({"facts": without("e1")}, "I1 guid has 0 push.received"),
        (
            {"streamed": GOOD.streamed[:-1]},
            "I1 route.changed e7 of env never reached its stream",
        ),
        ({"streamed": [*GOOD.streamed, "e1"]}, "I2 e1 is 2 times in the stream"),
        (
            {"streamed": ["e1", "e3", "e2", "e4", "e5", "e6", "e7"]},
            "I3 deployment.deploying of dep overtook deployment.created",
        ),
        (
            {"taken": {*GOOD.taken} - {("github-v1", "e1")}},
            "I2 github-v1 never took push.received e1",
        ),
        (
            {
                "facts": [*FACTS, replace(ROUTE, event_id="e8")],
                "streamed": [*GOOD.streamed, "e8"],
            },
            "I2 consumer:routing-v1 said route.changed of env 2 times for e6",
        ),
        (
            {
                "facts": [*FACTS, replace(CREATED, event_id="e8", aggregate_id="dep_2")],
                "streamed": [*GOOD.streamed, "e8"],
            },
            "I2 guid made 2 deployments, not 1",
        ),
        ({"pushes": [Push("guid", "abc", deploys=False)]}, "I2 guid made 1 deployments, not 0"),
        ({"pushes": [Push("guid", "def")]}, "I2 guid deployed another commit than def"),
        (
            {"facts": [PUSH, CREATED, INSTANCE, READY, replace(ACTIVE, version=2), ROUTE]},
            "I3 dep went from queued to active",
        ),
        (
            {"facts": [PUSH, CREATED, CREATED, *FACTS[2:]]},
            "I3 dep began twice",
        ),
        (
            {"facts": [PUSH, CREATED, DEPLOYING, READY, ACTIVE, ROUTE]},
            "I3 instance.ready of ins, which never began",
        ),
        (
            {"facts": [*FACTS[:5], replace(ACTIVE, version=1), ROUTE]},
            "I3 deployment.activated of dep is version 1 behind a newer one",
        ),
        (
            {"states": {"dep": DeploymentState.DEPLOYING}},
            "I3 dep is deploying, and was last said to be active",
        ),
        ({"replicas": {"dep": 2}}, "I4 dep went live with 1 of 2 instances"),
        (
            {"facts": [PUSH, CREATED, DEPLOYING, INSTANCE, ACTIVE, ROUTE, READY]},
            "I4 shop.test was led to ins, not ready then",
        ),
    ],
)
def test_each_planted_fault_is_named(planted: dict[str, object], said: str) -> None:
    assert said in complaints(replace(GOOD, **planted))  # type: ignore[arg-type]


LEAVING = ("unready", "failed", "lost", "stopped", "draining")


def left(word: str) -> Fact:
    """The instance leaves ready."""
    return Fact("e8", f"instance.{word}", "ins", 3, data={"deployment_id": "dep"})


def told(*facts: Fact) -> History:
    """Of these facts, all of them streamed."""
    return replace(GOOD, facts=facts, streamed=[fact.event_id for fact in facts], states={})


@pytest.mark.parametrize("word", LEAVING)
def test_a_route_to_an_instance_that_was_ready_and_has_left_is_named(word: str) -> None:
    history = told(*without("e7"), left(word), ROUTE)
    assert complaints(history) == ["I4 shop.test was led to ins, not ready then"]


@pytest.mark.parametrize("word", LEAVING)
def test_an_instance_that_has_left_does_not_let_its_deployment_go_live(word: str) -> None:
    history = told(PUSH, CREATED, DEPLOYING, INSTANCE, READY, left(word), ACTIVE)
    assert complaints(history) == ["I4 dep went live with 0 of 1 instances"]


@pytest.mark.parametrize("word", LEAVING)
def test_an_instance_may_leave_after_it_was_routed_to(word: str) -> None:
    assert complaints(told(*FACTS, left(word))) == []


def test_an_instance_that_is_ready_again_may_be_routed_to() -> None:
    again = replace(READY, event_id="e9", version=4)
    took = {*GOOD.taken, ("deployments-v1", "e9"), ("routing-v1", "e9")}
    history = told(*without("e7"), left("unready"), again, ROUTE)
    assert complaints(replace(history, taken=took)) == []


def test_every_check_has_been_seen_to_fail() -> None:
    """Against a check that nobody calls, or that can only agree."""
    broken = History(
        pushes=[Push("lost", "abc"), Push("guid", "def")],
        deliveries={"guid": "whd"},
        facts=[*without("e5"), CREATED],
        streamed=["e2", "e1", "e1"],
        consumers=GOOD.consumers,
        replicas={"dep": 1},
    )
    assert [check.__name__ for check in CHECKS if not check(broken)] == []


def test_an_address_that_moves_and_a_start_that_is_not_said_are_legal() -> None:
    again = replace(READY, event_id="e8", version=3)
    moved = replace(GOOD, facts=[*FACTS, again], streamed=[*GOOD.streamed, "e8"],
                    consumers={})  # fmt: skip
    assert complaints(moved) == []
    starting = replace(
        GOOD,
        facts=[PUSH, CREATED, DEPLOYING, INSTANCE],
        states={"ins": InstanceState.STARTING},
        consumers={},
    )
    assert complaints(starting) == []


def test_a_hint_may_come_twice_and_has_no_version() -> None:
    joined = Fact("n1", "node.ready", "nod", 3)
    hints = [Fact(f"h{n}", "node.desired_changed", "nod", causation_id="e5") for n in (1, 2)]
    facts = [*FACTS, joined, *hints]
    assert complaints(replace(GOOD, facts=facts, streamed=[one.event_id for one in facts])) == []


@pytest.mark.parametrize(
    ("events", "said"),
    [
        (("requested", "requested", "started"), []),
        (("requested", "started", "requested"), []),
        (
            ("requested", "started", "failed", "requested"),
            ["I3 build.requested of bld after its end as failed"],
        ),
    ],
)
def test_a_build_is_asked_for_again_until_its_end(events: tuple[str, ...], said: list[str]) -> None:
    builds = [
        Fact(f"b{number}", f"build.{word}", "bld", causation_id="e2")
        for number, word in enumerate(events)
    ]
    assert legal_paths(replace(GOOD, facts=[*FACTS, *builds])) == said
