"""Projects and their environments."""

from __future__ import annotations

from events.event import Event


class ProjectCreated(Event, type="project.created"):
    """A project with its production environment exists."""

    project_id: str
    environment_id: str
    slug: str
    github_repo: str | None


class ProjectRemoved(Event, type="project.removed"):
    """Nothing of it is left but the log of its events."""

    project_id: str
    slug: str
