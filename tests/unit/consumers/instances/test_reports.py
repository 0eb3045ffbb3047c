"""A node's report counts only about its own instance, in order, and along the state machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.instances.reports import Standing, verdict
from events.instances import InstanceReported
from events.states import InstanceState, allowed

REPORTABLE = (
    InstanceState.STARTING,
    InstanceState.READY,
    InstanceState.FAILED,
    InstanceState.STOPPED,
)
ROW = Standing(node_id="nod_mine", generation=2, sequence=7, state=InstanceState.STARTING)


def said(state: InstanceState = InstanceState.READY, **changes: Any) -> InstanceReported:
    fields: dict[str, Any] = {
        "instance_id": "ins_1",
        "node_id": "nod_mine",
        "generation": 2,
        "sequence": 8,
        "state": state,
        "host": "10.0.0.1",
        "port": 4000,
        **changes,
    }
    return InstanceReported(**fields)


@st.composite
def histories(draw: st.DrawFn) -> list[InstanceState]:
    """What a node can live through with an instance, as it would report it."""
    state, history = InstanceState.PENDING, []
    for _ in range(draw(st.integers(1, 6))):
        following = [each for each in REPORTABLE if allowed(state, each)]
        if not following:
            break
        state = draw(st.sampled_from(following))
        history.append(state)
    return history


def test_a_good_report_counts() -> None:
    assert verdict(ROW, said()) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"node_id": "nod_other"}, "the instance belongs to another node"),
        ({"generation": 1}, "the report is about another generation"),
        ({"generation": 3}, "the report is about another generation"),
        ({"sequence": 7}, "a newer report was taken before"),
        ({"sequence": 6}, "a newer report was taken before"),
        ({"host": None}, "a ready instance needs an address"),
        ({"port": None}, "a ready instance needs an address"),
        ({"port": 0}, "a ready instance needs an address"),
        ({"port": 65_536}, "a ready instance needs an address"),
        ({"port": -1}, "a ready instance needs an address"),
        ({"host": ""}, "a ready instance needs an address"),
    ],
)
def test_each_defect_alone_is_enough(changes: dict[str, Any], reason: str) -> None:
    assert verdict(ROW, said(**changes)) == reason


def test_nobody_reports_an_instance_that_was_not_placed() -> None:
    assert verdict(replace(ROW, node_id=None), said()) == "the instance belongs to another node"


def test_a_stopped_instance_needs_no_address() -> None:
    assert verdict(ROW, said(InstanceState.STOPPED, host=None, port=None)) is None


@pytest.mark.parametrize("state", InstanceState)
@pytest.mark.parametrize("reported", InstanceState)
def test_only_a_nodes_own_states_and_legal_moves_count(
    state: InstanceState, reported: InstanceState
) -> None:
    counts = verdict(replace(ROW, state=state), said(reported)) is None
    assert counts == (reported in REPORTABLE and (reported is state or allowed(state, reported)))


@given(histories(), st.data())
def test_in_any_order_and_twice_the_last_word_stands(
    history: list[InstanceState], data: st.DataObject
) -> None:
    reports = [said(state, sequence=8 + number) for number, state in enumerate(history)]
    row = replace(ROW, state=InstanceState.PENDING)
    for report in data.draw(st.permutations(reports + reports)):
        if verdict(row, report) is None:
            row = replace(row, state=report.state, sequence=report.sequence)
    assert row.state is history[-1]
