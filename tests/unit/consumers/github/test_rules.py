"""Which push deploys what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.github.rules import Push, why_not

BRANCHES = st.text(min_size=1, max_size=30)


@given(BRANCHES)
def test_a_push_to_the_branch_deploys(branch: str) -> None:
    assert why_not(Push(f"refs/heads/{branch}", deleted=False), branch=branch) is None


@given(BRANCHES, st.text(max_size=40))
def test_no_other_reference_deploys(branch: str, ref: str) -> None:
    reason = why_not(Push(ref, deleted=False), branch=branch)
    assert (reason is None) == (ref == f"refs/heads/{branch}")


@given(BRANCHES)
def test_a_deleted_branch_deploys_nothing(branch: str) -> None:
    push = Push(f"refs/heads/{branch}", deleted=True)
    assert why_not(push, branch=branch) == "the push deletes its branch"


@pytest.mark.parametrize(
    ("ref", "said"),
    [
        ("refs/tags/main", "refs/tags/main is not a branch"),
        ("refs/heads/feature/main", "branch feature/main is not deployed"),
        ("refs/heads/main-2", "branch main-2 is not deployed"),
        ("refs/heads/Main", "branch Main is not deployed"),
        ("refs/heads/", "branch  is not deployed"),
        ("refs/heads/refs/heads/main", "branch refs/heads/main is not deployed"),
        ("main", "main is not a branch"),
        ("refs/pull/1/head", "refs/pull/1/head is not a branch"),
    ],
)
def test_the_reason_names_what_was_pushed(ref: str, said: str) -> None:
    reason = why_not(Push(ref, deleted=False), branch="main")
    assert reason is not None
    assert reason.startswith(said)
