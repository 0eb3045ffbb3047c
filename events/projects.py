"""Projects and their environments."""

from __future__ import annotations

from events.event import Event


class ProjectCreated(Event, type="project.created"):
    """A project with its production environment exists."""

    project_id: str
    environment_id: str
    slug: str
    github_repo: str | None


class ProjectSourceChanged(Event, type="project.source_changed"):
    """Its repository was renamed or transferred, and it went along."""

    project_id: str
    github_repo: str
    previous: str


class ProjectRemoved(Event, type="project.removed"):
    """Nothing of it is left but the log of its events."""

    project_id: str
    slug: str
