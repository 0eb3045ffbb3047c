"""A built site as the shipped Caddy serves it: tags, caching, and what is never given out."""

from __future__ import annotations

import http.client
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.artifacts import _unpack
from tests.support.builds import GitRepository, Workbench
from tests.support.eventually import eventually
from tests.support.servers import free_port
from zeitwork import subprocesses

HASHED = "app-0123456789abcdef.js"


class Site:
    """A running Caddy."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
        """The path goes out as it is: no client in between makes it harmless."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.putrequest("GET", path, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read().decode()
        finally:
            connection.close()

    def answers(self) -> bool:
        try:
            return self.get("/")[0] == 200
        except OSError:
            return False


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    repository = GitRepository(tmp_path / "repository")
    sha = repository.commit(
        {
            "index.html": "home",
            "404.html": "not here",
            "about/index.html": "about",
            HASHED: "js",
            "Procfile": "release: secret",
            ".env": "secret",
            ".git-secret/key": "secret",
            "below/.htpasswd": "secret",
            ".well-known/security.txt": "contact",
        }
    )
    bench = Workbench(tmp_path / "data")
    result = await bench.build(bench.pipeline(), repository.url, sha)
    digest = result.blob.digest
    app = tmp_path / "app"
    _unpack(bench.root / "blobs" / digest[:2] / digest, app)
    (tmp_path / "secret").write_text("secret")
    port = free_port()
    caddy = await subprocesses.start(
        ["sh", "-c", result.manifest.processes["web"]],
        cwd=app,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PORT": str(port),
            "HOME": str(tmp_path),
        },
    )
    try:
        served = Site(port)
        await eventually(served.answers)
        yield served
    finally:
        await subprocesses.kill_tree(caddy)


async def test_pages_are_served_with_a_tag_of_their_content(site: Site) -> None:
    status, headers, body = site.get("/")
    assert (status, body) == (200, "home")
    assert headers["Cache-Control"] == "public, max-age=0, must-revalidate"
    tag = headers["Etag"]
    assert site.get("/", If_None_Match=tag)[0] == 304
    assert site.get("/about/")[2] == "about"
    assert site.get("/about/")[1]["Etag"] != tag
    assert site.get("/.well-known/security.txt")[2] == "contact"
    assert "immutable" in site.get(f"/{HASHED}")[1]["Cache-Control"]


async def test_what_is_hidden_is_not_found(site: Site) -> None:
    paths = [
        "/missing",
        "/Procfile",
        "/.env",
        "/.git-secret/key",
        "/below/.htpasswd",
        "/.zeitwork/Caddyfile",
        "/index.html.zeitwork-etag",
        "/../secret",
        "/%2e%2e/secret",
        "/about/..%2f..%2fsecret",
        "/.well-known/../.env",
        "/.well-known/..%2f.env",
        "/%2eenv",
        "//.env",
    ]
    answers = {path: site.get(path) for path in paths}
    assert {path: status for path, (status, _, _) in answers.items() if status != 404} == {}
    assert {path for path, (_, _, body) in answers.items() if "secret" in body} == set()
    assert {headers["Cache-Control"] for _, headers, _ in answers.values()} == {"no-cache"}


async def test_the_sites_own_page_says_that_nothing_was_found(site: Site) -> None:
    status, _, body = site.get("/missing")
    assert (status, body) == (404, "not here")
