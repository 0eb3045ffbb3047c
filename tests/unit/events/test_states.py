"""State machines: complete, closed, and every history is a legal path."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import states
from events.states import MOVES, DeploymentState, InstanceState, NodeState
from zeitwork.errors import IllegalMove

# Functions of `states` take one machine at a time; these tests go through all of them.
_allowed: Any = states.allowed
_check: Any = states.check
_terminal: Any = states.terminal

MACHINES: list[type[StrEnum]] = [
    machine
    for name, machine in sorted(vars(states).items())
    if isinstance(machine, type) and machine.__name__ == name and name.endswith("State")
]
EVERY_STATE: list[StrEnum] = [state for machine in MACHINES for state in machine]


def test_every_machine_is_in_the_table() -> None:
    assert set(MACHINES) == set(MOVES)


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_has_its_line(machine: type[StrEnum]) -> None:
    assert set(MOVES[machine]) == set(machine)


@pytest.mark.parametrize("machine", MACHINES)
def test_moves_stay_within_the_machine(machine: type[StrEnum]) -> None:
    for state, targets in MOVES[machine].items():
        assert all(type(target) is machine for target in targets)
        assert state not in targets


@pytest.mark.parametrize("machine", MACHINES)
def test_every_state_is_reached_from_the_first_and_leads_to_an_end(machine: type[StrEnum]) -> None:
    first, *_ = machine
    assert _reachable(first) == set(machine)
    for state in machine:
        assert any(_terminal(end) for end in _reachable(state))


@given(st.data())
def test_a_history_of_checked_moves_is_a_legal_path(data: st.DataObject) -> None:
    state = data.draw(st.sampled_from(EVERY_STATE))
    history = [state]
    for wish in data.draw(st.lists(st.sampled_from(list(type(state))), max_size=20)):
        try:
            _check(history[-1], wish)
        except IllegalMove:
            assert wish not in MOVES[type(state)][history[-1]]
        else:
            history.append(wish)
    for before, after in itertools.pairwise(history):
        assert _allowed(before, after)
        assert not _terminal(before)


@given(st.sampled_from(EVERY_STATE), st.sampled_from(EVERY_STATE))
def test_nothing_follows_an_end(state: StrEnum, other: StrEnum) -> None:
    if _terminal(state) and type(state) is type(other):
        with pytest.raises(IllegalMove):
            _check(state, other)


@given(st.data())
def test_a_served_deployment_is_never_served_again(data: st.DataObject) -> None:
    state = DeploymentState.ACTIVE
    for _ in range(6):
        targets = sorted(MOVES[DeploymentState][state])
        if not targets:
            break
        state = DeploymentState(data.draw(st.sampled_from(targets)))
        assert state is not DeploymentState.ACTIVE


def test_machines_do_not_mix_though_their_words_are_the_same() -> None:
    # StrEnum members are equal when their words are: READY of a node and of an instance.
    assert str(InstanceState.READY) == str(NodeState.READY)
    assert _allowed(InstanceState.READY, InstanceState.STOPPED)
    assert _allowed(NodeState.READY, NodeState.SUSPECT)
    assert not _allowed(InstanceState.LOST, InstanceState.READY)
    assert _allowed(NodeState.LOST, NodeState.READY)


def _reachable(state: Any) -> set[Any]:
    """All states on any path from `state`, itself included."""
    seen, waiting = {state}, [state]
    while waiting:
        for target in MOVES[type(state)][waiting.pop()]:
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return seen
