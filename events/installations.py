"""Installations of the GitHub App and their repositories; the webhook's body stays in its row."""

from __future__ import annotations

from events.event import Event


class InstallationChanged(Event, type="installation.changed"):
    """GitHub says that something about an installation is not as it was: look there."""

    delivery_id: str
    installation_id: int
    action: str


class RepositoryChanged(Event, type="repository.changed"):
    """GitHub says that a repository is called otherwise, belongs to somebody else, or is gone."""

    delivery_id: str
    repository_id: int
    installation_id: int | None
    action: str
