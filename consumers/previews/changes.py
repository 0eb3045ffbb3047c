"""What a pull request changes, for projects that only want to hear of some paths."""

from __future__ import annotations

import asyncio

from consumers.path_filters import Filters
from db.models import Project
from db.queries.github_app import projects_on
from db.session import UnitOfWork
from events.github import PullRequestReceived
from zeitwork import logs
from zeitwork.errors import GitHubRefused, GitHubUnavailable
from zeitwork.github import pulls
from zeitwork.github.app import GitHubApp

_log = logs.get(__name__)
_ASK_SECONDS = 20.0


class Changes:
    """Asks GitHub, outside of any transaction, and only where somebody wants to know."""

    def __init__(self, work: UnitOfWork, app: GitHubApp | None) -> None:
        self._work = work
        self._app = app

    async def of(self, event: PullRequestReceived) -> tuple[str, ...] | None:
        """The paths; None where they are not known. A preview too many beats one too late."""
        installation_id = event.github_installation_id
        if self._app is None or installation_id is None or not event.open:
            return None
        async with self._work.database.read() as session:
            _, projects = await projects_on(session, event)
        if not any(each.previews_enabled and filters_of(each).any for each in projects):
            return None
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                return await pulls.files(
                    self._app, installation_id, event.github_repo, event.number
                )
        except (GitHubRefused, GitHubUnavailable, TimeoutError) as error:
            _log.warning(
                "changed files not known",
                repository=event.github_repo,
                number=event.number,
                detail=str(error) or type(error).__name__,
            )
            return None


def filters_of(project: Project) -> Filters:
    return Filters(project.root_directory, project.include_paths, project.exclude_paths)
