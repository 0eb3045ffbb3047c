"""When silence makes a node suspect, when lost, and when it is rather the observer who is deaf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.nodes.liveness import (
    LOST_AFTER_SECONDS,
    SUSPECT_AFTER_SECONDS,
    Seen,
    verdicts,
)
from events.states import NodeState, allowed

READY, SUSPECT, LOST = NodeState.READY, NodeState.SUSPECT, NodeState.LOST
NODES = st.lists(
    st.builds(
        Seen,
        node_id=st.uuids().map(str),
        state=st.sampled_from(NodeState),
        silent_seconds=st.floats(0, 100),
    ),
    max_size=12,
    unique_by=lambda node: node.node_id,
)


def fleet(silent: int, of: int, *, seconds: float = 60, state: NodeState = READY) -> list[Seen]:
    """`of` nodes, of which the first `silent` have not been heard for `seconds`."""
    return [Seen(f"n{number}", state, seconds if number < silent else 1) for number in range(of)]


@pytest.mark.parametrize(
    ("state", "seconds", "becomes"),
    [
        (READY, 15, None),
        (READY, 15.1, SUSPECT),
        (READY, 40, SUSPECT),
        (READY, 40.1, LOST),
        (SUSPECT, 40, None),
        (SUSPECT, 40.1, LOST),
        (NodeState.JOINING, 40, None),
        (NodeState.JOINING, 40.1, LOST),
        (NodeState.DRAINING, 40, None),
        (NodeState.DRAINING, 40.1, LOST),
        (LOST, 1000, None),
        (NodeState.GONE, 1000, None),
    ],
)
def test_one_node(state: NodeState, seconds: float, becomes: NodeState | None) -> None:
    assert verdicts([Seen("n", state, seconds)]) == ({"n": becomes} if becomes else {})


@pytest.mark.parametrize(("silent", "of"), [(1, 1), (1, 2), (2, 4), (54, 100)])
def test_a_minority_is_lost(silent: int, of: int) -> None:
    assert list(verdicts(fleet(silent, of)).values()) == [LOST] * silent


@pytest.mark.parametrize(("silent", "of"), [(2, 2), (2, 3), (11, 20), (55, 100), (100, 100)])
def test_when_most_fall_silent_at_once_nobody_is_lost(silent: int, of: int) -> None:
    assert list(verdicts(fleet(silent, of)).values()) == [SUSPECT] * silent
    assert verdicts(fleet(silent, of, state=SUSPECT)) == {}


def test_nodes_given_up_before_do_not_count_as_a_majority() -> None:
    gone = [Seen(f"old{number}", LOST, 9999) for number in range(50)]
    assert verdicts([*gone, *fleet(1, 3)]) == {"n0": LOST}


@given(NODES)
def test_every_verdict_is_a_legal_move_that_silence_explains(nodes: list[Seen]) -> None:
    known = {node.node_id: node for node in nodes}
    for node_id, state in verdicts(nodes).items():
        node = known[node_id]
        assert allowed(node.state, state)
        limit = LOST_AFTER_SECONDS if state is LOST else SUSPECT_AFTER_SECONDS
        assert node.silent_seconds > limit


@given(NODES)
def test_at_most_one_node_or_a_minority_is_lost_at_once(nodes: list[Seen]) -> None:
    in_use = [node for node in nodes if node.state not in {LOST, NodeState.GONE}]
    lost = list(verdicts(nodes).values()).count(LOST)
    assert lost <= 1 or 100 * lost < 55 * len(in_use)


@given(NODES)
def test_carrying_out_the_verdicts_leaves_nothing_more_to_say(nodes: list[Seen]) -> None:
    """A round that finds the same silence again changes nothing, unless the pause has ended."""
    changes = verdicts(nodes)
    after = [
        Seen(node.node_id, changes.get(node.node_id, node.state), node.silent_seconds)
        for node in nodes
    ]
    if LOST not in changes.values():
        assert verdicts(after) == {}
