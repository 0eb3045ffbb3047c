"""Which node takes an instance: ready ones only; spread first, then the emptiest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.scheduling.placement import Candidate, place, why_nowhere
from events.states import NodeState

CANDIDATES = st.lists(
    st.builds(
        Candidate,
        node_id=st.uuids().map(str),
        state=st.sampled_from(NodeState),
        live=st.integers(0, 5),
        siblings=st.integers(0, 3),
    ),
    max_size=8,
    unique_by=lambda candidate: candidate.node_id,
)


@given(CANDIDATES)
def test_the_choice_is_ready_and_none_is_better(candidates: list[Candidate]) -> None:
    ready = [each for each in candidates if each.state is NodeState.READY]
    chosen = place(candidates)
    assert (chosen is None) == (not ready)
    for each in ready:
        if each.node_id == chosen:
            best = min((other.siblings, other.live) for other in ready)
            assert (each.siblings, each.live) == best


@given(CANDIDATES, st.data())
def test_the_order_of_nodes_means_nothing(candidates: list[Candidate], data: st.DataObject) -> None:
    assert place(data.draw(st.permutations(candidates))) == place(candidates)


@given(nodes=st.integers(1, 6), replicas=st.integers(0, 20), busy=st.lists(st.integers(0, 9)))
def test_replicas_spread_evenly_however_busy_the_nodes_are(
    nodes: int, replicas: int, busy: list[int]
) -> None:
    names = [f"n{number}" for number in range(nodes)]
    load = Counter(dict(zip(names, busy, strict=False)))
    siblings: Counter[str] = Counter()
    for _ in range(replicas):
        chosen = place(
            [Candidate(name, NodeState.READY, load[name], siblings[name]) for name in names]
        )
        assert chosen is not None
        load[chosen] += 1
        siblings[chosen] += 1
    counts = [siblings[name] for name in names]
    assert max(counts) - min(counts) <= 1


def test_images_go_where_images_run_and_everything_else_anywhere() -> None:
    candidates = [
        Candidate("a", NodeState.READY, 0, 0, "process"),
        Candidate("b", NodeState.READY, 9, 9, "docker"),
        Candidate("c", NodeState.LOST, 0, 0, "docker"),
    ]
    assert place(candidates) == "a"
    assert place(candidates, runtime="docker") == "b"
    assert place(candidates[::2], runtime="docker") is None
    assert "none is ready" in why_nowhere(candidates[::2], runtime="docker")
    assert "none of the 1 that joined runs images" in why_nowhere(candidates[:1], runtime="docker")


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([], "none has joined yet"),
        ([NodeState.LOST], "none is ready (1 lost)"),
        ([NodeState.SUSPECT, NodeState.LOST, NodeState.LOST], "none is ready (2 lost, 1 suspect)"),
    ],
)
def test_waiting_says_why(states: list[NodeState], said: str) -> None:
    candidates = [Candidate(f"n{number}", state, 0, 0) for number, state in enumerate(states)]
    assert place(candidates) is None
    assert said in why_nowhere(candidates)
