"""git over HTTP: git's own `http-backend`, behind the same tokens as the API."""

from __future__ import annotations

import asyncio
import base64
import binascii

from aiohttp import web

from examples.fake_github.state import Repository, State

_SERVICES = ("/info/refs", "/git-upload-pack")


async def serve(request: web.Request, state: State) -> web.StreamResponse:
    """`GET|POST /{owner}/{name}.git/…`, to read only."""
    full_name = f"{request.match_info['owner']}/{request.match_info['name']}"
    rest = "/" + request.match_info["rest"]
    repository = state.repository(full_name)
    if repository is None:
        moved = state.renamed(full_name)
        if moved is not None and rest == "/info/refs":
            target = f"/{moved.full_name}.git{rest}"
            raise web.HTTPMovedPermanently(request.rel_url.with_path(target))
    allowed = repository is not None and (
        not repository.private or _may_read(request, state, repository)
    )
    if repository is None or repository.path is None or rest not in _SERVICES or not allowed:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="GitHub"'})
        return web.Response(status=404, text="Repository not found.")
    return await _backend(request, repository, rest)


def _may_read(request: web.Request, state: State, repository: Repository) -> bool:
    scheme, _, coded = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(coded).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    token = state.valid(password) if scheme == "Basic" and user == "x-access-token" else None
    return token is not None and "contents" in token.permissions and state.allows(token, repository)


async def _backend(request: web.Request, repository: Repository, rest: str) -> web.Response:
    assert repository.path is not None
    body = await request.read()  # aiohttp has unpacked it
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "GIT_PROJECT_ROOT": str(repository.path.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            # Like GitHub, any commit is given out, also one that no branch leads to.
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_0": "true",
            "GIT_CONFIG_KEY_1": "safe.directory",
            "GIT_CONFIG_VALUE_1": "*",
            "PATH_INFO": f"/{repository.path.name}{rest}",
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        },
    )
    answer, _ = await process.communicate(body)
    head, _, content = answer.partition(b"\r\n\r\n")
    headers = {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in head.decode().splitlines())
    }
    status = int(headers.pop("Status", "200").split()[0])
    return web.Response(status=status, headers=headers, body=content)


async def changed_files(repository: Repository, sha: str) -> list[str]:
    """What a commit changes since it left `main`."""
    assert repository.path is not None
    process = await asyncio.create_subprocess_exec(
        "git",
        "-C",
        str(repository.path),
        "diff",
        "--name-only",
        "-z",
        f"main...{sha}",
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return [name for name in said.decode(errors="replace").split("\0") if name]
