"""Previews: environments that live as long as a pull request or a branch does."""

from __future__ import annotations

from enum import StrEnum

from events.event import Event


class ForkPolicy(StrEnum):
    """What a pull request from a fork may have: a preview once approved, at once, or with secrets.

    Only `trust` lets a fork's code see the preview's secrets: anybody can open a pull request.
    """

    APPROVE = "approve"
    ALLOW = "allow"
    TRUST = "trust"


class PreviewFact(Event):
    """What every event about a preview says; the row may be gone when it is heard.

    Attributes:
        repository, pull_number: what it is a preview of; None for a branch.
    """

    preview_id: str
    repository: str | None = None
    pull_number: int | None = None


class PreviewOpened(PreviewFact, type="preview.opened"):
    """It has an environment of its own from now on."""

    environment_id: str


class PreviewWaiting(PreviewFact, type="preview.waiting"):
    """It is not built for now; `reason` says what it waits for."""

    reason: str


class PreviewApproved(PreviewFact, type="preview.approved"):
    """A person lets one commit of a fork be built and served."""

    commit_sha: str


class PreviewClosed(PreviewFact, type="preview.closed"):
    """It is being taken down."""

    reason: str


class BranchPushed(Event, type="branch.pushed"):
    """A branch that makes previews moved, or is gone: look where it points now.

    Attributes:
        commit_sha: None for a branch that was deleted.
    """

    project_id: str
    delivery_id: str
    repository: str
    ref: str
    commit_sha: str | None
