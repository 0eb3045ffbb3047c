"""How deployments are told to GitHub."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.github import standing
from consumers.github.standing import Standing
from events.states import DeploymentState


def seen(state: DeploymentState, **changes: Any) -> Standing:
    fields: dict[str, Any] = {
        "project": "shop",
        "environment": "production",
        "state": state,
        "served": state is DeploymentState.ACTIVE,
        "error_code": None,
        "error_detail": None,
        "url": "https://shop.test/",
        **changes,
    }
    return Standing(**fields)


@pytest.mark.parametrize("state", DeploymentState)
@pytest.mark.parametrize("served", [True, False])
def test_github_takes_what_is_said_of_every_state(state: DeploymentState, *, served: bool) -> None:
    one = seen(state, served=served)
    assert standing.status(one)["state"] in {"error", "failure", "pending", "success"}
    said = standing.deployment_status(one)
    assert said["state"] in {"queued", "in_progress", "success", "failure", "inactive"}
    check = standing.check(one)
    assert check["status"] in {"queued", "in_progress", "completed"}
    assert (check["status"] == "completed") == ("conclusion" in check)
    assert check.get("conclusion", "success") in {"success", "failure", "cancelled"}


@pytest.mark.parametrize(
    ("state", "served", "status", "deployment"),
    [
        (DeploymentState.SUPERSEDED, True, "success", "inactive"),
        (DeploymentState.SUPERSEDED, False, "error", "inactive"),
        (DeploymentState.STOPPED, True, "success", "inactive"),
        (DeploymentState.ACTIVE, True, "success", "success"),
        (DeploymentState.CANCELLED, False, "error", "inactive"),
    ],
)
def test_a_commit_that_was_live_stays_a_good_one(
    state: DeploymentState, status: str, deployment: str, *, served: bool
) -> None:
    one = seen(state, served=served)
    assert standing.status(one)["state"] == status
    assert standing.deployment_status(one)["state"] == deployment


def test_a_failure_says_why_in_what_github_has_room_for() -> None:
    detail = "line one\nline two " + "x" * 9000
    one = seen(DeploymentState.FAILED, error_code="build_failed", error_detail=detail)
    for text in (
        standing.status(one)["description"],
        standing.deployment_status(one)["description"],
        standing.check(one)["output"]["title"],
    ):
        assert text.startswith("build_failed: line one line two x")
        assert len(text) == 140
    summary = standing.check(one)["output"]["summary"]
    assert summary.startswith("build_failed: line one\nline two")
    assert len(summary) == 4000


def test_only_production_is_called_so() -> None:
    assert standing.deployment(seen(DeploymentState.QUEUED), sha="a")["production_environment"]
    preview = seen(DeploymentState.QUEUED, environment="pr-7")
    assert standing.deployment(preview, sha="a")["transient_environment"]
    assert preview.name == "zeitwork/shop/pr-7"
