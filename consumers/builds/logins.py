"""Logins for private repositories: an installation's token, for one fetch of one repository."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol
from urllib.parse import urlsplit

from consumers.builds.clone_url import Remote
from db.queries.github_app import installation_claim
from db.queries.projects import project_find
from db.session import UnitOfWork
from events.states import InstallationState
from zeitwork.errors import GitHubRefused, SourceUnavailable
from zeitwork.github.app import GitHubApp, Scope

_READ = (("contents", "read"),)


class Logins(Protocol):
    """Finds the login that a remote needs."""

    async def with_login(self, remote: Remote, *, project_id: str | None) -> Remote:
        """The remote, with a login where one is to be had and none was given.

        Raises:
            SourceUnavailable: one is needed and refused; the message says what to do.
            GitHubUnavailable: GitHub cannot be asked now.
        """


class NoLogins:
    """Nothing but what the address itself says."""

    async def with_login(self, remote: Remote, *, project_id: str | None) -> Remote:  # noqa: ARG002
        return remote


class GitHubLogins:
    """Tokens of the GitHub App: to read, one repository, for a project that is on it."""

    def __init__(self, work: UnitOfWork, app: GitHubApp, *, web_url: str) -> None:
        self._work = work
        self._app = app
        self._web = urlsplit(web_url)

    async def with_login(self, remote: Remote, *, project_id: str | None) -> Remote:
        repository = self._repository(remote)
        if remote.login is not None or repository is None or project_id is None:
            return remote
        installation_id = await self._installation(project_id, repository)
        if installation_id is None:
            return remote
        name = repository.partition("/")[2]
        try:
            token = await self._app.token(Scope(installation_id, name, _READ))
        except GitHubRefused as error:
            raise SourceUnavailable(
                f"The GitHub App may not read {repository}: {error.message} "
                "Is the repository among those that the installation may see?"
            ) from error
        parts = urlsplit(remote.address)
        login = parts._replace(netloc=f"x-access-token:{token}@{parts.netloc}").geturl()
        return replace(remote, login=login)

    async def _installation(self, project_id: str, repository: str) -> int | None:
        """The installation to clone with; none where the project names none, or another address."""
        async with self._work.transaction() as tx:
            project = await project_find(tx.session, project_id)
            if project is None or project.github_installation_id is None:
                return None
            if project.github_repo != repository.lower():
                return None
            named = project.github_installation_id
            row = await installation_claim(tx.session, named, project.organisation_id)
        if row is None:
            raise SourceUnavailable(
                f"The GitHub installation {named} is not known here, or belongs to another "
                "organisation. Install the App, and name the installation in the project."
            )
        if row.state is not InstallationState.ACTIVE:
            raise SourceUnavailable(
                f"The GitHub App's installation on {row.account} is {row.state}. Its owner can "
                "change that in the settings of GitHub."
            )
        return named

    def _repository(self, remote: Remote) -> str | None:
        """`owner/name`, if the remote is on the App's GitHub."""
        parts = urlsplit(remote.address)
        if (parts.scheme, parts.netloc.lower()) != (self._web.scheme, self._web.netloc.lower()):
            return None
        path = parts.path.strip("/").removesuffix(".git")
        return path if path.count("/") == 1 else None
