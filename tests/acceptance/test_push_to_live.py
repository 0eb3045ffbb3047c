"""The product as its user meets it: `zeitwork up`, a push, a live URL; then what can fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.platform_file import load
from tests.support.eventually import eventually
from tests.support.platform import PlatformProcess, running
from tests.support.pushes import (
    Answer,
    Repository,
    deliver,
    json_of,
    push_body,
    request,
    visit,
)
from tests.support.visitors import Visitors

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("platform")]

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"{text}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        print("served", flush=True)
address = (os.environ["HOST"], int(os.environ["PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""


def python_app(text: str) -> dict[str, str]:
    return {"main.py": SERVER.replace("{text}", text), "Procfile": "web: python main.py\n"}


class Platform:
    """The running platform with its secrets, and the questions that tests ask."""

    def __init__(self, process: PlatformProcess) -> None:
        self.process = process
        file = load(process.data)
        assert file is not None
        self.secret = file.webhook_secret
        self.token = file.api_token

    def create_project(self, slug: str, repository: Repository, *options: str) -> None:
        done = self.process.run(
            "projects", "create", slug, "--repo", f"acme/{slug}",
            "--clone-url", repository.url, "--json", *options,
        )  # fmt: skip
        assert done.code == 0, done.err
        assert done.json["environments"][0]["host"] == f"{slug}.localhost"

    def push(self, slug: str, repository: Repository, sha: str) -> None:
        body = push_body(f"acme/{slug}", sha, repository.url)
        answer = deliver(self.process.api_url, self.secret, body)
        assert answer.status == 202, answer.body

    def visit(self, slug: str, path: str = "/") -> Answer:
        return visit(self.process.proxy_url, f"{slug}.localhost", path)

    def api(self, path: str) -> Any:
        answer = request(
            f"{self.process.api_url}/api/v1{path}",
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.status == 200, answer.body
        return json_of(answer)

    def newest(self, slug: str) -> Any:
        found = self.api(f"/deployments?project={slug}&limit=1")["items"]
        return found[0] if found else None

    async def until_body(self, slug: str, text: str) -> None:
        def check() -> bool:
            answer = self.visit(slug)
            assert (answer.status, answer.body) == (200, text), self._why(slug)
            return True

        await eventually(check, timeout=60)

    async def until_state(self, slug: str, number: int, state: str) -> Any:
        def check() -> Any:
            found = self.newest(slug)
            assert found is not None
            assert (found["number"], found["state"]) == (number, state), found
            return found

        return await eventually(check, timeout=90)

    def _why(self, slug: str) -> str:
        return json.dumps(self.newest(slug), indent=1)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    data = tmp_path_factory.mktemp("platform") / "data"
    settings = {"ZEITWORK_HEALTH_TIMEOUT_SECONDS": "4", "ZEITWORK_DRAIN_SECONDS": "1"}
    with running(data, **settings) as process:
        yield Platform(process)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


async def test_a_push_becomes_a_live_url(platform: Platform, repository: Repository) -> None:
    platform.create_project("site", repository)
    assert platform.visit("site").status == 503
    sha = repository.commit({"index.html": "first"})

    platform.push("site", repository, sha)

    await platform.until_body("site", "first")
    found = platform.newest("site")
    assert found["state"] == "active"
    assert found["commit_sha"] == sha
    detail = platform.api(f"/deployments/{found['id']}")
    log = platform.api(f"/builds/{detail['builds'][0]['id']}/logs")["items"]
    assert [line["number"] for line in log] == list(range(1, len(log) + 1))
    timeline = platform.api(f"/events?correlation={found['correlation_id']}&limit=200")["items"]
    types = [event["type"] for event in timeline]
    expected = [
        "push.received", "deployment.created", "build.requested", "build.started",
        "build.succeeded", "deployment.deploying", "instance.created", "instance.ready",
        "deployment.activated", "route.changed",
    ]  # fmt: skip
    assert [type_ for type_ in types if type_ in expected][: len(expected)] == expected


async def test_a_second_push_replaces_the_first_without_a_failed_request(
    platform: Platform, repository: Repository
) -> None:
    platform.create_project("steady", repository)
    platform.push("steady", repository, repository.commit(python_app("one")))
    await platform.until_body("steady", "one")
    first = platform.newest("steady")

    with Visitors(lambda: platform.visit("steady"), per_second=50) as visitors:
        platform.push("steady", repository, repository.commit(python_app("two")))
        await platform.until_body("steady", "two")

        def first_is_gone() -> bool:
            instances = platform.api(f"/deployments/{first['id']}/instances")["items"]
            return [each["state"] for each in instances] == ["stopped"]

        await eventually(first_is_gone, timeout=30)

    visits = visitors.visits
    assert {visit.answer.status for visit in visits} == {200}
    assert {visit.answer.body for visit in visits} == {"one", "two"}
    first_two = min(visit.ended for visit in visits if visit.answer.body == "two")
    last_one = max(visit.began for visit in visits if visit.answer.body == "one")
    assert last_one < first_two  # never back to the old version
    assert len(visits) >= visitors.due - 1
    assert platform.api(f"/deployments/{first['id']}")["state"] == "superseded"


@pytest.mark.parametrize(
    ("name", "files", "code", "said"),
    [
        (
            "nothing",
            {"README.txt": "no application here"},
            "nothing_detected",
            "No builder recognises this repository",
        ),
        (
            "exits",
            {
                "main.py": "print('going down'); raise SystemExit(3)",
                "Procfile": "web: python main.py",
            },
            "start_command_exited",
            "going down",
        ),
        (
            "silent",
            {
                "main.py": "import signal; print('not listening', flush=True); signal.pause()",
                "Procfile": "web: python main.py",
            },
            "health_check_failed",
            "not listening",
        ),
        (
            "breaks",
            {
                "package.json": json.dumps(
                    {"name": "x", "scripts": {"build": "echo broken >&2; exit 7", "start": "true"}}
                )
            },
            "build_command_failed",
            "broken",
        ),
    ],
)
async def test_a_broken_version_fails_and_the_one_before_keeps_serving(
    platform: Platform,
    repository: Repository,
    name: str,
    files: dict[str, str],
    code: str,
    said: str,
) -> None:
    slug = f"bad-{name}"
    platform.create_project(slug, repository)
    platform.push(slug, repository, repository.commit({"index.html": "good"}))
    await platform.until_body(slug, "good")

    platform.push(slug, repository, repository.commit(files))
    failed = await platform.until_state(slug, 2, "failed")

    assert failed["error_code"] == code
    log = platform.process.run("logs", failed["id"], "--build").out
    assert said in failed["error_detail"] + log
    assert code in log or code in {"start_command_exited", "health_check_failed"}
    assert platform.visit(slug).body == "good"


async def test_a_release_command_runs_before_the_new_version_and_its_failure_keeps_the_old(
    platform: Platform, repository: Repository
) -> None:
    platform.create_project("shop", repository)
    given = platform.process.run("env", "set", "shop", "COLOUR=green")
    assert given.code == 0, given.err
    migrate = "import os; print('migrating for', os.environ['COLOUR'], 'PORT' in os.environ)"
    release = "release: python migrate.py\n"
    files = python_app("one")
    files = {**files, "Procfile": files["Procfile"] + release, "migrate.py": migrate}
    platform.push("shop", repository, repository.commit(files))
    await platform.until_body("shop", "one")

    first = platform.newest("shop")
    instances = platform.api(f"/deployments/{first['id']}/instances")["items"]
    run, web = sorted(instances, key=lambda each: each["created_at"])
    assert (run["kind"], run["state"], run["exit_code"]) == ("release", "stopped", 0)
    assert (web["kind"], web["state"]) == ("web", "ready")
    assert run["stopped_at"] <= web["created_at"]
    assert "migrating for green False" in platform.process.run("logs", first["id"]).out
    shown = platform.process.run("deployments", "show", first["id"]).out
    assert "release" in shown

    broken = {**python_app("two"), "migrate.py": migrate + "\nraise SystemExit('no such table')\n"}
    broken["Procfile"] += release
    platform.push("shop", repository, repository.commit(broken))
    failed = await platform.until_state("shop", 2, "failed")
    assert failed["error_code"] == "release_failed"
    assert "no such table" in failed["error_detail"]
    (only,) = platform.api(f"/deployments/{failed['id']}/instances")["items"]
    assert (only["kind"], only["exit_code"]) == ("release", 1)
    assert platform.visit("shop").body == "one"


async def test_what_is_not_genuine_or_not_known_changes_nothing(
    platform: Platform, repository: Repository
) -> None:
    sha = repository.commit({"index.html": "x"})
    body = push_body("acme/stranger", sha, repository.url)
    api = platform.process.api_url

    forged = deliver(api, "wrong secret", body, guid="11111111-forged")
    malformed = deliver(api, platform.secret, b"{not json", guid="11111111-malformed")
    unknown = deliver(api, platform.secret, body, guid="11111111-unknown")

    assert (forged.status, json_of(forged)["code"]) == (401, "bad_signature")
    assert (malformed.status, json_of(malformed)["code"]) == (400, "malformed_body")
    assert unknown.status == 202

    def ignored() -> bool:
        found = platform.api("/webhooks/deliveries/11111111-unknown")
        return found["state"] == "ignored" and "acme/stranger" in found["reason"]

    await eventually(ignored)
    auth = {"Authorization": f"Bearer {platform.token}"}
    for guid in ("11111111-forged", "11111111-malformed"):
        answer = request(f"{api}/api/v1/webhooks/deliveries/{guid}", headers=auth)
        assert answer.status == 404


async def test_the_command_line_deploys_and_explains(
    platform: Platform, repository: Repository
) -> None:
    platform.create_project("byhand", repository)
    repository.commit(python_app("by hand"))

    deployed = platform.process.run("deploy", "byhand", "--source", str(repository.path))
    assert deployed.code == 0, deployed.err
    assert deployed.out.strip() == platform.newest("byhand")["url"]
    assert platform.visit("byhand").body == "by hand"

    listed = platform.process.run("deployments", "list", "--project", "byhand", "--json")
    shown = platform.process.run("deployments", "show", listed.json[0]["id"], "--json")
    assert shown.json["instances"][0]["state"] == "ready"

    repository.commit({"README.txt": "nothing"})
    failed = platform.process.run("deploy", "byhand", "--source", str(repository.path))
    assert failed.code == 6
    assert "nothing_detected" in failed.err
    assert platform.process.run("deployments", "show", "dep_unknown").code == 2
    assert platform.process.run("projects", "show", "unknown").code == 3

    def served() -> bool:
        return "served" in platform.process.run("logs", listed.json[0]["id"]).out

    await eventually(served)
    assert platform.process.run("doctor", "--json").code == 0


async def test_a_restart_brings_everything_back_without_a_rebuild(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "repository")
    data = tmp_path / "data"
    with running(data) as process:
        platform = Platform(process)
        platform.create_project("lasting", repository)
        platform.push("lasting", repository, repository.commit(python_app("still here")))
        await platform.until_body("lasting", "still here")
        assert process.stop() == 0
        assert process.left_behind() == []

    with running(data) as process:
        platform = Platform(process)
        await platform.until_body("lasting", "still here")
        found = platform.newest("lasting")
        assert found["number"] == 1
        assert len(platform.api(f"/deployments/{found['id']}")["builds"]) == 1
        assert process.stop() == 0
        assert process.left_behind() == []
