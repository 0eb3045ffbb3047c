"""What a pull request means for its preview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.previews.plan import Plan, Source, Standing, Step, Terms, is_news, plan
from events.previews import ForkPolicy
from events.states import PreviewState

AT = datetime(2026, 1, 1, tzinfo=UTC)


def planned(
    standing: Standing | None = None,
    *,
    enabled: bool = True,
    limit: int = 2,
    forks: ForkPolicy = ForkPolicy.APPROVE,
    lost: str | None = None,
    **source: Any,
) -> Plan:
    said: dict[str, Any] = {"open": True, "head_sha": "b", **source}
    return plan(Source(**said), standing or Standing(), Terms(enabled, limit, forks, lost))


def active(**changes: Any) -> Standing:
    return Standing(**{"state": PreviewState.ACTIVE, "deployed_sha": "a", **changes})


def test_an_open_pull_request_is_deployed_and_each_commit_of_it() -> None:
    assert planned() == Plan(Step.DEPLOY)
    assert planned(active()) == Plan(Step.DEPLOY)
    assert planned(active(deployed_sha="b")) == Plan(Step.NOTHING)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"open": False}, "the pull request is closed"),
        ({"lost": "the repository is gone"}, "the repository is gone"),
        ({"enabled": False}, "previews of the project are off"),
        ({"expired": True}, "nothing was heard of it for too long"),
    ],
)
def test_what_is_not_wanted_any_more_is_closed_once(source: dict[str, Any], reason: str) -> None:
    assert planned(active(), **source) == Plan(Step.CLOSE, reason)
    assert planned(Standing(PreviewState.WAITING), **source).step is Step.CLOSE
    assert planned(Standing(PreviewState.CLOSING), **source).step is Step.NOTHING
    assert planned(**source).step is Step.NOTHING


def test_a_draft_keeps_what_it_has_and_gets_nothing_new() -> None:
    assert planned(draft=True).step is Step.WAIT
    assert planned(active(), draft=True).step is Step.WAIT
    assert planned(active(deployed_sha="b"), draft=True).step is Step.NOTHING


@pytest.mark.parametrize(
    ("forks", "approved", "step", "trusted"),
    [
        (ForkPolicy.APPROVE, None, Step.WAIT, None),
        (ForkPolicy.APPROVE, "a", Step.WAIT, None),  # a commit before: anything may have changed
        (ForkPolicy.APPROVE, "b", Step.DEPLOY, False),
        (ForkPolicy.ALLOW, None, Step.DEPLOY, False),
        (ForkPolicy.TRUST, None, Step.DEPLOY, True),
    ],
)
def test_a_fork_waits_for_approval_of_the_very_commit_and_sees_no_secret(
    forks: ForkPolicy, approved: str | None, step: Step, *, trusted: bool | None
) -> None:
    found = planned(active(approved_sha=approved), from_fork=True, forks=forks)
    assert found.step is step
    if trusted is not None:
        assert found.trusted is trusted


def test_the_newest_waits_at_the_limit_and_those_that_run_go_on() -> None:
    assert planned(Standing(others=1)).step is Step.DEPLOY
    full = planned(Standing(others=2))
    assert full == Plan(Step.WAIT, "2 previews run; the project's limit is 2")
    assert planned(active(others=2)).step is Step.DEPLOY


def test_one_that_is_opened_again_waits_for_the_end_of_the_one_before() -> None:
    assert planned(Standing(PreviewState.CLOSING, deployed_sha="b")).step is Step.WAIT


@pytest.mark.parametrize(
    ("said", "known", "news"),
    [
        ((1, "synchronize"), (0, "closed"), True),
        ((0, "opened"), (1, "closed"), False),
        ((0, "closed"), (0, "opened"), True),
        ((0, "opened"), (0, "closed"), False),
        ((0, "synchronize"), (0, "closed"), False),
        ((0, "reopened"), (0, "closed"), True),
        ((0, "opened"), (0, "synchronize"), False),
        ((0, "synchronize"), (0, "opened"), True),
        ((0, "closed"), (0, "closed"), True),
    ],
)
def test_the_clock_orders_and_within_a_second_the_action(
    said: tuple[int, str], known: tuple[int, str], *, news: bool
) -> None:
    first, second = ((AT + timedelta(seconds=seconds), action) for seconds, action in (said, known))
    assert is_news(first, second) == news
