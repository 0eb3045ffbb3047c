"""The REST API: authentication as GitHub does it, and the endpoints that Zeitwork uses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from examples.fake_github.git_http import changed_files
from examples.fake_github.hooks import Hooks
from examples.fake_github.state import Delivery, Installation, Json, Repository, State, Token, stamp

_LONGEST_JWT_SECONDS = 600


def problem(status: int, message: str, **headers: str) -> web.Response:
    return web.json_response(
        {"message": message, "documentation_url": "https://docs.github.com/rest"},
        status=status,
        headers=headers,
    )


@dataclass
class Api:
    """Answers calls; `app_id` and `public_key` are those of the only App.

    `leeway` is by how many seconds the App's clock may differ; GitHub allows nothing.
    """

    state: State
    hooks: Hooks
    app_id: str
    public_key: RSAPublicKey
    leeway: float = 0
    sending: set[asyncio.Task[Delivery]] = field(default_factory=set)

    def routes(self) -> Iterable[web.RouteDef]:
        app, repo = self._as_app, self._on_repository
        yield web.get("/app/installations/{installation}", app(self.installation))
        yield web.post("/app/installations/{installation}/access_tokens", app(self.access_token))
        yield web.get("/app/hook/deliveries", app(self.deliveries))
        yield web.post("/app/hook/deliveries/{delivery}/attempts", app(self.attempt))
        yield web.get("/installation/repositories", self.visible)
        base = "/repos/{owner}/{name}"
        yield web.get(base, repo("metadata", self.repository))
        yield web.post(f"{base}/statuses/{{sha}}", repo("statuses", self.status))
        yield web.get(f"{base}/commits/{{sha}}/statuses", repo("statuses", self.status_list))
        yield web.post(f"{base}/deployments", repo("deployments", self.deployment))
        yield web.get(f"{base}/deployments", repo("deployments", self.deployment_list))
        statuses = f"{base}/deployments/{{id}}/statuses"
        yield web.post(statuses, repo("deployments", self.deployment_status))
        yield web.get(statuses, repo("deployments", self.deployment_status_list))
        yield web.post(f"{base}/check-runs", repo("checks", self.check_run))
        yield web.patch(f"{base}/check-runs/{{id}}", repo("checks", self.check_run_update))
        yield web.get(f"{base}/commits/{{sha}}/check-runs", repo("checks", self.check_run_list))
        yield web.get(f"{base}/pulls/{{number}}/files", repo("pull_requests", self.file_list))
        comments = f"{base}/issues/{{number}}/comments"
        yield web.post(comments, repo("pull_requests", self.comment))
        yield web.get(comments, repo("pull_requests", self.comment_list))
        yield web.patch(
            f"{base}/issues/comments/{{id}}", repo("pull_requests", self.comment_update)
        )

    # --- As the App -------------------------------------------------------------------------------

    def _as_app(
        self, handler: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            try:
                claims = jwt.decode(
                    _bearer(request),
                    self.public_key,
                    algorithms=["RS256"],
                    leeway=self.leeway,
                    options={"require": ["exp", "iat", "iss"]},
                )
            except jwt.PyJWTError:
                return problem(401, "A JSON web token could not be decoded")
            if claims["iss"] != self.app_id:
                return problem(401, "Integration not found")
            if claims["exp"] - claims["iat"] > _LONGEST_JWT_SECONDS:
                return problem(401, "'Expiration time' claim ('exp') is too far in the future")
            return await handler(request)

        return handle

    async def installation(self, request: web.Request) -> web.Response:
        found = self._installation(request)
        return problem(404, "Not Found") if found is None else web.json_response(found.json())

    async def access_token(self, request: web.Request) -> web.Response:
        found = self._installation(request)
        if found is None:
            return problem(404, "Not Found")
        if found.suspended_at is not None:
            return problem(403, "This installation has been suspended")
        asked = json.loads(await request.text() or "{}")
        token = self.state.issue(
            found, names=asked.get("repositories"), permissions=asked.get("permissions")
        )
        if token is None:
            return problem(422, "There is at least one repository that is not accessible.")
        content = {
            "token": token.text,
            "expires_at": stamp(token.expires_at),
            "permissions": token.permissions,
            "repository_selection": "all" if token.repositories is None else "selected",
        }
        return web.json_response(content, status=201)

    async def deliveries(self, request: web.Request) -> web.Response:
        """Newest first; the cursor is the id of the last one of the page before."""
        size = int(request.query.get("per_page", "30"))
        newest = sorted(self.state.deliveries, key=lambda each: each.id, reverse=True)
        if (cursor := request.query.get("cursor")) is not None:
            newest = [each for each in newest if each.id < int(cursor)]
        shown, more = newest[:size], newest[size:]
        headers = {}
        if more:
            following = request.url.update_query(cursor=str(shown[-1].id))
            headers["Link"] = f'<{following}>; rel="next"'
        return web.json_response([each.json() for each in shown], headers=headers)

    async def attempt(self, request: web.Request) -> web.Response:
        wanted = int(request.match_info["delivery"])
        found = next((each for each in self.state.deliveries if each.id == wanted), None)
        if found is None:
            return problem(404, "Not Found")
        task = asyncio.create_task(self.hooks.again(found))
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)
        return web.json_response({}, status=202)

    def _installation(self, request: web.Request) -> Installation | None:
        return self.state.installations.get(int(request.match_info["installation"]))

    # --- As an installation -----------------------------------------------------------------------

    async def visible(self, request: web.Request) -> web.Response:
        token = self.state.valid(_bearer(request))
        if token is None:
            return problem(401, "Bad credentials")
        found = [
            self.state.repository_json(each)
            for each in self.state.visible(token.installation)
            if self.state.allows(token, each)
        ]
        return _page(request, found, name="repositories")

    def _on_repository(
        self,
        permission: str,
        handler: Callable[[web.Request, Repository], Awaitable[web.Response]],
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            token = self.state.valid(_bearer(request))
            if token is None:
                return problem(401, "Bad credentials")
            full_name = f"{request.match_info['owner']}/{request.match_info['name']}"
            found = self.state.repository(full_name)
            if found is None and (moved := self.state.renamed(full_name)) is not None:
                path = request.path.replace(full_name, moved.full_name, 1)
                location = str(request.url.with_path(path).with_query(request.query))
                status = 301 if request.method == "GET" else 307
                return problem(status, "Moved Permanently", Location=location)
            if found is None or not self.state.allows(token, found):
                return problem(404, "Not Found")
            if not _grants(token, permission, request.method):
                return problem(403, "Resource not accessible by integration")
            return await handler(request, found)

        return handle

    async def repository(self, _request: web.Request, repository: Repository) -> web.Response:
        return web.json_response(self.state.repository_json(repository))

    async def status(self, request: web.Request, repository: Repository) -> web.Response:
        content = await request.json()
        if content.get("state") not in {"error", "failure", "pending", "success"}:
            return problem(422, "Validation Failed")
        return self._keep(repository.statuses, {"sha": request.match_info["sha"], **content})

    async def status_list(self, request: web.Request, repository: Repository) -> web.Response:
        """Newest first, as GitHub does."""
        sha = request.match_info["sha"]
        return _page(request, [e for e in reversed(repository.statuses) if e["sha"] == sha])

    async def deployment(self, request: web.Request, repository: Repository) -> web.Response:
        content = await request.json()
        return self._keep(repository.deployments, {"sha": content["ref"], **content})

    async def deployment_list(self, request: web.Request, repository: Repository) -> web.Response:
        return web.json_response(
            [
                each
                for each in reversed(repository.deployments)
                if request.query.get("sha") in {None, each["sha"]}
                and request.query.get("environment") in {None, each.get("environment")}
            ]
        )

    async def deployment_status(self, request: web.Request, repository: Repository) -> web.Response:
        deployment = int(request.match_info["id"])
        if not any(each["id"] == deployment for each in repository.deployments):
            return problem(404, "Not Found")
        content = {"deployment_id": deployment, **await request.json()}
        return self._keep(repository.deployment_statuses, content)

    async def deployment_status_list(
        self, request: web.Request, repository: Repository
    ) -> web.Response:
        wanted = int(request.match_info["id"])
        found = [e for e in repository.deployment_statuses if e["deployment_id"] == wanted]
        return _page(request, found[::-1])

    async def check_run(self, request: web.Request, repository: Repository) -> web.Response:
        return self._keep(repository.check_runs, await request.json())

    async def check_run_update(self, request: web.Request, repository: Repository) -> web.Response:
        return await self._change(request, repository.check_runs)

    async def check_run_list(self, request: web.Request, repository: Repository) -> web.Response:
        found = [
            each
            for each in reversed(repository.check_runs)
            if each["head_sha"] == request.match_info["sha"]
            and request.query.get("check_name") in {None, each["name"]}
        ]
        return web.json_response({"total_count": len(found), "check_runs": found})

    async def file_list(self, request: web.Request, repository: Repository) -> web.Response:
        pull = repository.pulls.get(int(request.match_info["number"]))
        if pull is None:
            return problem(404, "Not Found")
        names = pull.files if pull.files is not None else await changed_files(repository, pull.sha)
        return _page(request, [{"filename": name, "status": "modified"} for name in names])

    async def comment(self, request: web.Request, repository: Repository) -> web.Response:
        number = int(request.match_info["number"])
        content = await request.json()
        if not content.get("body"):
            return problem(422, "Validation Failed")
        author = {"id": int(self.app_id), "client_id": f"Iv1.{self.app_id}", "slug": "zeitwork"}
        made = {"issue": number, "performed_via_github_app": author, "body": content["body"]}
        return self._keep(repository.comments, made)

    async def comment_list(self, request: web.Request, repository: Repository) -> web.Response:
        """Oldest first, by pages."""
        number = int(request.match_info["number"])
        return _page(request, [each for each in repository.comments if each["issue"] == number])

    async def comment_update(self, request: web.Request, repository: Repository) -> web.Response:
        return await self._change(request, repository.comments)

    def _keep(self, kept: list[Json], content: Json) -> web.Response:
        made = {"id": self.state.new_id(), **content}
        kept.append(made)
        return web.json_response(made, status=201)

    async def _change(self, request: web.Request, kept: list[Json]) -> web.Response:
        wanted = int(request.match_info["id"])
        for each in kept:
            if each["id"] == wanted:
                each.update(await request.json())
                return web.json_response(each)
        return problem(404, "Not Found")


def _page(request: web.Request, found: list[Json], *, name: str | None = None) -> web.Response:
    """A part of a list, and where the next one is; as a list, or in an object that counts it."""
    size, number = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
    headers = {}
    if number * size < len(found):
        following = request.url.update_query(page=str(number + 1))
        headers["Link"] = f'<{following}>; rel="next"'
    shown = found[(number - 1) * size : number * size]
    content = shown if name is None else {"total_count": len(found), name: shown}
    return web.json_response(content, headers=headers)


def _bearer(request: web.Request) -> str:
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    return text if scheme.lower() in {"bearer", "token"} else ""


def _grants(token: Token, permission: str, method: str) -> bool:
    granted = token.permissions.get(permission)
    return granted == "write" or (granted == "read" and method == "GET") or permission == "metadata"
