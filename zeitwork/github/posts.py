"""What is posted to a repository: commit statuses, deployments, check runs, comments.

Statuses may be posted twice. What has an id of its own can be found again by what we wrote into it,
for when the answer to its creation was lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from zeitwork.github import answers
from zeitwork.github.answers import CheckRuns, Comment, Created, Deployment
from zeitwork.github.app import GitHubApp, Scope

_OURS = "zeitwork_id"  # in the payload of a deployment


@dataclass(frozen=True, slots=True)
class Posts:
    """Posts to one repository (`owner/name`) as an installation."""

    app: GitHubApp
    installation_id: int
    repository: str

    async def status(self, sha: str, content: Mapping[str, Any]) -> None:
        await self._send("POST", f"/statuses/{sha}", content)

    async def deployment(self, ours: str, content: Mapping[str, Any]) -> int:
        """Make a deployment that carries our id."""
        body = {**content, "payload": {_OURS: ours}}
        return answers.of(Created, await self._send("POST", "/deployments", body)).id

    async def deployment_find(self, ours: str, *, sha: str, environment: str) -> int | None:
        query = {"sha": sha, "environment": environment, "per_page": "100"}
        content = await self._send("GET", "/deployments", query=query)
        for each in answers.every(Deployment, content):
            if isinstance(each.payload, dict) and each.payload.get(_OURS) == ours:
                return each.id
        return None

    async def deployment_status(self, deployment: int, content: Mapping[str, Any]) -> None:
        await self._send("POST", f"/deployments/{deployment}/statuses", content)

    async def check(self, ours: str, content: Mapping[str, Any]) -> int:
        """Make a check run that carries our id."""
        body = {**content, "external_id": ours}
        return answers.of(Created, await self._send("POST", "/check-runs", body)).id

    async def check_find(self, ours: str, *, sha: str, name: str) -> int | None:
        query = {"check_name": name, "filter": "all", "per_page": "100"}
        content = await self._send("GET", f"/commits/{sha}/check-runs", query=query)
        for each in answers.of(CheckRuns, content).check_runs:
            if each.external_id == ours:
                return each.id
        return None

    async def check_update(self, check: int, content: Mapping[str, Any]) -> None:
        await self._send("PATCH", f"/check-runs/{check}", content)

    async def comment(self, number: int, text: str) -> int:
        """Comment on an issue or pull request."""
        content = await self._send("POST", f"/issues/{number}/comments", {"body": text})
        return answers.of(Created, content).id

    async def comment_find(self, number: int, mark: str) -> int | None:
        """Our own comment with this mark; anybody may have copied the mark into theirs."""
        pages = self.app.pages(
            Scope(self.installation_id), f"{self._path}/issues/{number}/comments"
        )
        async for content in pages:
            for each in answers.every(Comment, content):
                if mark in (each.body or "") and self.app.wrote(each):
                    return each.id
        return None

    async def comment_update(self, comment: int, text: str) -> None:
        await self._send("PATCH", f"/issues/comments/{comment}", {"body": text})

    @property
    def _path(self) -> str:
        return f"/repos/{quote(self.repository)}"

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        reply = await self.app.as_installation(
            Scope(self.installation_id),
            method,
            f"{self._path}{path}",
            body=body,
            query=query,
        )
        return reply.content
