"""What pull requests change: https://docs.github.com/en/rest/pulls/pulls."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from zeitwork.github import answers
from zeitwork.github.answers import ChangedFile
from zeitwork.github.app import GitHubApp, Scope

MOST_FILES: Final = 1000  # more are as good as not known; GitHub itself stops at 3,000


async def files(
    app: GitHubApp, installation_id: int, repository: str, number: int
) -> tuple[str, ...] | None:
    """Paths that the pull request changes, former names of renamed ones too; None for too many."""
    found: dict[str, None] = {}
    path = f"/repos/{quote(repository)}/pulls/{number}/files"
    async for content in app.pages(Scope(installation_id), path):
        for each in answers.every(ChangedFile, content):
            found |= dict.fromkeys(each.names)
        if len(found) > MOST_FILES:
            return None
    return tuple(found) or None
