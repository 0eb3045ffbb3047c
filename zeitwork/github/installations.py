"""Where the App is installed, and what it may see there."""

from __future__ import annotations

from collections.abc import AsyncIterator

from zeitwork.errors import GitHubNotFound
from zeitwork.github import answers
from zeitwork.github.answers import Installation, Repositories, Repository
from zeitwork.github.app import GitHubApp, Scope


async def installation(app: GitHubApp, installation_id: int) -> Installation | None:
    """As GitHub has it now; None once it was deleted."""
    try:
        reply = await app.as_app("GET", f"/app/installations/{installation_id}")
    except GitHubNotFound:
        return None
    return answers.of(Installation, reply.content)


async def repositories(app: GitHubApp, installation_id: int) -> AsyncIterator[Repository]:
    """All that the installation may see; it must not be suspended."""
    async for content in app.pages(Scope(installation_id), "/installation/repositories"):
        for each in answers.of(Repositories, content).repositories:
            yield each
