"""The next step of a deployment: newest wins, all new instances first, one failure ends it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.deployments.rollout import Release, Standing, Step, next_step, release_of
from events.states import InstanceState

READY, STARTING, FAILED = InstanceState.READY, InstanceState.STARTING, InstanceState.FAILED
STANDINGS = st.builds(
    Standing,
    number=st.integers(1, 9),
    replicas=st.integers(1, 4),
    instances=st.lists(st.sampled_from(InstanceState), max_size=6),
    newest_active=st.none() | st.integers(1, 9),
    release=st.sampled_from(Release),
    occupied=st.booleans(),
)


@pytest.mark.parametrize(
    ("instances", "step"),
    [
        ([READY, READY], Step.ACTIVATE),
        ([READY, STARTING], Step.WAIT),
        ([READY], Step.WAIT),
        ([], Step.START),
        ([READY, FAILED], Step.FAIL),
        ([READY, READY, FAILED], Step.FAIL),
        ([READY, InstanceState.LOST, READY], Step.ACTIVATE),
        ([READY, InstanceState.LOST, STARTING], Step.WAIT),
        ([READY, InstanceState.DRAINING], Step.WAIT),
    ],
)
def test_two_replicas_beside_an_older_version(instances: list[InstanceState], step: Step) -> None:
    assert next_step(Standing(2, 2, instances, newest_active=1)) is step


@pytest.mark.parametrize(
    ("release", "step"),
    [
        (Release.DUE, Step.RELEASE),
        (Release.RUNNING, Step.WAIT),
        (Release.DONE, Step.START),
        (Release.FAILED, Step.FAIL),
    ],
)
def test_the_release_command_comes_before_any_instance(release: Release, step: Step) -> None:
    assert next_step(Standing(2, 2, [], newest_active=1, release=release)) is step


def test_release_commands_of_an_environment_take_turns() -> None:
    due = Standing(2, 2, [], newest_active=1, release=Release.DUE, occupied=True)
    assert next_step(due) is Step.WAIT
    assert next_step(replace(due, release=Release.DONE)) is Step.START


def test_instances_of_before_the_upgrade_need_no_release() -> None:
    assert next_step(Standing(1, 1, [STARTING], None, release=Release.DUE)) is Step.WAIT
    assert next_step(Standing(1, 1, [READY], None, release=Release.DUE)) is Step.ACTIVATE


@pytest.mark.parametrize(
    ("run", "release"),
    [
        (None, Release.DUE),
        ((InstanceState.PENDING, None), Release.RUNNING),
        ((STARTING, None), Release.RUNNING),
        ((InstanceState.DRAINING, None), Release.RUNNING),
        ((InstanceState.STOPPED, 0), Release.DONE),
        ((InstanceState.STOPPED, None), Release.FAILED),
        ((InstanceState.STOPPED, 1), Release.FAILED),
        ((FAILED, 0), Release.FAILED),
        ((InstanceState.LOST, None), Release.FAILED),
    ],
)
def test_only_an_end_with_zero_is_a_good_one(
    run: tuple[InstanceState, int | None] | None, release: Release
) -> None:
    assert release_of("migrate", run) is release


def test_without_a_command_nothing_is_due() -> None:
    assert release_of(None, None) is Release.DONE


@given(STANDINGS)
def test_no_instance_is_wanted_before_the_release_is_done(standing: Standing) -> None:
    if next_step(standing) is Step.START:
        assert standing.release is Release.DONE


def test_the_first_deployment_needs_no_predecessor() -> None:
    assert next_step(Standing(1, 1, [READY], newest_active=None)) is Step.ACTIVATE


@given(STANDINGS)
def test_older_than_what_serves_never_takes_the_routes(standing: Standing) -> None:
    late = replace(standing, newest_active=standing.number + 1)
    assert next_step(late) is Step.SUPERSEDE


@given(STANDINGS)
def test_it_serves_only_when_whole_and_newest(standing: Standing) -> None:
    if next_step(standing) is Step.ACTIVATE:
        assert standing.newest_active is None or standing.newest_active <= standing.number
        assert FAILED not in standing.instances
        assert standing.instances.count(READY) >= standing.replicas


@given(STANDINGS, st.data())
def test_the_order_of_instances_means_nothing(standing: Standing, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(standing.instances))
    assert next_step(replace(standing, instances=shuffled)) is next_step(standing)


@given(STANDINGS)
def test_one_more_ready_instance_never_undoes_an_activation(standing: Standing) -> None:
    if next_step(standing) is Step.ACTIVATE:
        more = replace(standing, instances=[*standing.instances, READY])
        assert next_step(more) is Step.ACTIVATE
