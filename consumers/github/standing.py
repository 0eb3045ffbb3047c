"""How a deployment stands, in GitHub's words: commit status, deployment, check run. Pure.

https://docs.github.com/en/rest/commits/statuses, /deployments/statuses, /checks/runs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from events.states import DeploymentState

_DESCRIPTION_LENGTH = 140  # the most that GitHub takes
_SUMMARY_LENGTH = 4000
_PRODUCTION = "production"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a deployment.

    Attributes:
        served: it was active at some time.
        url: where visitors find its environment.
    """

    project: str
    environment: str
    state: DeploymentState
    served: bool
    error_code: str | None
    error_detail: str | None
    url: str

    @property
    def name(self) -> str:
        """What it is called among the checks and statuses of a commit."""
        return f"zeitwork/{self.project}/{self.environment}"

    @property
    def place(self) -> str:
        """The environment on GitHub, which all projects of a repository share."""
        return f"{self.project} / {self.environment}"


@dataclass(frozen=True, slots=True)
class _Words:
    status: str
    deployment: str
    conclusion: str | None  # of the check; None while it goes on
    description: str


_WORDS: Mapping[DeploymentState, _Words] = {
    DeploymentState.QUEUED: _Words("pending", "queued", None, "Waiting for a builder"),
    DeploymentState.BUILDING: _Words("pending", "in_progress", None, "Building"),
    DeploymentState.DEPLOYING: _Words("pending", "in_progress", None, "Starting instances"),
    DeploymentState.ACTIVE: _Words("success", "success", "success", "Live"),
    DeploymentState.FAILED: _Words("failure", "failure", "failure", "Failed"),
    DeploymentState.CANCELLED: _Words("error", "inactive", "cancelled", "Cancelled"),
    DeploymentState.SUPERSEDED: _Words(
        "error", "inactive", "cancelled", "A newer deployment came before it was live"
    ),
    DeploymentState.STOPPED: _Words("error", "inactive", "cancelled", "Stopped"),
}


def _words(standing: Standing) -> _Words:
    words = _WORDS[standing.state]
    if standing.served and standing.state is not DeploymentState.ACTIVE:
        # The commit did go live; that another one serves now does not make it a bad one.
        return _Words("success", "inactive", "success", "Was live")
    if standing.state is DeploymentState.FAILED:
        said = f"{standing.error_code}: {standing.error_detail}"
        return _Words(words.status, words.deployment, words.conclusion, said)
    return words


def status(standing: Standing) -> dict[str, Any]:
    """The commit status."""
    words = _words(standing)
    return {
        "state": words.status,
        "context": standing.name,
        "description": _cut(words.description, _DESCRIPTION_LENGTH),
        "target_url": standing.url,
    }


def deployment(standing: Standing, *, sha: str) -> dict[str, Any]:
    """The deployment to make; it asks nothing of other checks, which may be this very one."""
    return {
        "ref": sha,
        "environment": standing.place,
        "description": "Zeitwork",
        "auto_merge": False,
        "required_contexts": [],
        "production_environment": standing.environment == _PRODUCTION,
        "transient_environment": standing.environment != _PRODUCTION,
    }


def deployment_status(standing: Standing) -> dict[str, Any]:
    """The status of the deployment."""
    words = _words(standing)
    content: dict[str, Any] = {
        "state": words.deployment,
        "description": _cut(words.description, _DESCRIPTION_LENGTH),
        "auto_inactive": False,  # which one serves is ours to say, in order
    }
    if standing.state is DeploymentState.ACTIVE:
        content["environment_url"] = standing.url
    return content


def check(standing: Standing) -> dict[str, Any]:
    """The check run, without the commit that it belongs to."""
    words = _words(standing)
    going_on = "queued" if standing.state is DeploymentState.QUEUED else "in_progress"
    content: dict[str, Any] = {
        "name": standing.name,
        "details_url": standing.url,
        "status": going_on if words.conclusion is None else "completed",
        "output": {
            "title": _cut(words.description, _DESCRIPTION_LENGTH),
            "summary": _cut(words.description, _SUMMARY_LENGTH),
        },
    }
    if words.conclusion is not None:
        content["conclusion"] = words.conclusion
    return content


def mark(standing: Standing) -> str:
    """What changes whenever there is something new to post."""
    return f"{standing.state}{'+' if standing.served else ''}"


def _cut(text: str, length: int) -> str:
    line = " ".join(text.split()) if length == _DESCRIPTION_LENGTH else text
    return line if len(line) <= length else f"{line[: length - 1]}…"
