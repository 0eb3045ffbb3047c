"""Deployments by hand, their pages, and nodes that fetch what they are to run."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

from db.models import Build, Deployment
from db.session import UnitOfWork
from events.states import DeploymentState
from tests.support.api import NODE_TOKEN, Api, assert_problem
from tests.support.factories import (
    Conveyor,
    add_node,
    add_site,
    add_version,
    changed,
    events_of,
    every,
    fetch,
    finish_build,
    sha,
)

NODE: dict[str, Any] = {
    "name": "one",
    "address": "127.0.0.1",
    "runtime": "process",
    "architecture": "x86_64",
    "cpu_millis": 4000,
    "memory_mib": 8192,
}


async def test_a_commit_is_queued_with_its_build(api: Api, work: UnitOfWork) -> None:
    site = await add_site(work, "shop", root_directory="web")
    answer = await api.post(
        "/projects/shop/deployments", {"commit_sha": sha(7), "message": "by hand"}
    )
    assert answer.status == 202
    made = answer.json
    assert (made["number"], made["state"], made["commit_sha"]) == (1, "queued", sha(7))
    assert (made["ref"], made["actor"]) == ("refs/heads/main", "api")
    assert made["url"] == "http://shop.test:8000/"
    assert made["correlation_id"] == answer.headers["X-Request-Id"]
    build = await fetch(work, Build, made["builds"][0]["id"])
    assert build.clone_url == "https://github.com/acme/shop.git"
    assert (build.commit_sha, build.root_directory) == (sha(7), "web")
    events = (await events_of(work.database))[-2:]
    assert [event.type for event in events] == ["deployment.created", "build.requested"]
    assert {event.correlation_id for event in events} == {made["correlation_id"]}
    assert {event.project_id for event in events} == {site.project.id}
    assert (await api.get(f"/deployments/{made['id']}")).json == made
    shown = (await api.get(f"/builds/{build.id}")).json
    assert shown == {**made["builds"][0], "position": 1}


async def test_the_source_can_be_named(api: Api, work: UnitOfWork) -> None:
    await add_site(work, "shop", github_repo=None)
    path = "/projects/shop/deployments"
    answer = await api.post(path, {"commit_sha": sha(1)})
    assert_problem(answer, 400, "invalid_input")
    answer = await api.post(path, {"commit_sha": sha(1), "clone_url": "https://git.test/x.git"})
    assert answer.status == 202
    [build] = await every(work, Build)
    assert build.clone_url == "https://git.test/x.git"
    assert len(await every(work, Deployment)) == 1


async def test_a_deployment_needs_a_project_an_environment_and_a_commit(
    api: Api, work: UnitOfWork
) -> None:
    await add_site(work, "shop")
    body = {"commit_sha": sha(1)}
    assert_problem(await api.post("/projects/none/deployments", body), 404, "not_found")
    path = "/projects/shop/deployments"
    answer = await api.post(path, {**body, "environment": "staging"})
    assert_problem(answer, 404, "not_found")
    for commit in ("main", "a" * 39, "A" * 40, "--help", "a" * 40 + "\nx"):
        assert_problem(await api.post(path, {"commit_sha": commit}), 400, "invalid_fields")
    assert await every(work, Deployment) == []


async def test_deployments_at_once_get_numbers_without_gaps(api: Api, work: UnitOfWork) -> None:
    await add_site(work, "shop")
    answers = await asyncio.gather(
        *(
            api.post("/projects/shop/deployments", {"commit_sha": sha(number)})
            for number in range(10)
        )
    )
    assert {answer.status for answer in answers} == {202}
    assert sorted(answer.json["number"] for answer in answers) == list(range(1, 11))


async def test_deployments_are_listed_newest_first_page_by_page(api: Api, work: UnitOfWork) -> None:
    shop, blog = await add_site(work, "shop"), await add_site(work, "blog")
    made = [(await add_version(work, shop, number)).deployment.id for number in range(5)]
    other = (await add_version(work, blog)).deployment.id
    newest = sorted(made, reverse=True)
    seen: list[str] = []
    cursors: list[str | None] = []
    path = "/deployments?project=shop&limit=2"
    for _ in range(3):
        page = (await api.get(path)).json
        cursors.append(page["next"])
        seen += [deployment["id"] for deployment in page["items"]]
        path = f"/deployments?project=shop&limit=2&before={page['next']}"
    assert seen == newest
    assert [cursor is None for cursor in cursors] == [False, False, True]
    everything = (await api.get("/deployments")).json["items"]
    assert {item["id"] for item in everything} == {*made, other}
    assert {item["id"]: item["url"] for item in everything}[other] == "http://blog.test:8000/"
    by_id = (await api.get(f"/deployments?project={blog.project.id}")).json["items"]
    assert [item["id"] for item in by_id] == [other]


async def test_a_failure_says_why(api: Api, work: UnitOfWork) -> None:
    version = await add_version(work, await add_site(work))
    async with changed(work, Deployment, version.deployment.id) as deployment:
        deployment.state = DeploymentState.FAILED
        deployment.error_code, deployment.error_detail = "nothing_detected", "no builder"
    shown = (await api.get(f"/deployments/{version.deployment.id}")).json
    assert (shown["state"], shown["error_code"]) == ("failed", "nothing_detected")
    assert shown["error_detail"] == "no builder"


# --- Nodes ----------------------------------------------------------------------------------------


async def test_a_node_registers_once_by_its_name(api: Api, work: UnitOfWork) -> None:
    first = await api.post("/nodes", NODE, token=NODE_TOKEN)
    again = await api.post("/nodes", {**NODE, "memory_mib": 1}, token=NODE_TOKEN)
    assert (first.status, again.status) == (201, 200)
    assert first.json["id"] == again.json["id"]
    assert [event.type for event in await events_of(work.database)] == ["node.joined", "node.ready"]
    [listed] = (await api.get("/nodes")).json["items"]
    assert (listed["state"], listed["memory_mib"]) == ("ready", 1)


async def test_nodes_of_one_name_at_once_are_one_node(api: Api) -> None:
    answers = await asyncio.gather(*(api.post("/nodes", NODE, token=NODE_TOKEN) for _ in range(6)))
    for answer in answers:
        if answer.status == 409:
            assert_problem(answer, 409, "conflict")
        else:
            assert answer.status in {200, 201}
    assert sum(answer.status == 201 for answer in answers) == 1
    assert len((await api.get("/nodes")).json["items"]) == 1


async def test_a_node_fetches_what_it_is_to_run(api: Api, work: UnitOfWork, tmp_path: Path) -> None:
    node = await add_node(work)
    version = await add_version(work, await add_site(work, health_path="/up"))
    conveyor = Conveyor(work)
    await finish_build(work, version)
    await conveyor.settle()
    desired = (await api.get(f"/nodes/{node}/desired", token=NODE_TOKEN)).json
    assert desired["node_id"] == node
    [instance] = desired["instances"]
    assert instance["deployment_id"] == version.deployment.id
    assert (instance["want"], instance["health_path"]) == ("running", "/up")
    assert desired["heard"] == {instance["instance_id"]: 0}
    listed = (await api.get(f"/deployments/{version.deployment.id}/instances")).json["items"]
    assert [(each["id"], each["node_id"]) for each in listed] == [(instance["instance_id"], node)]
    missing = "/nodes/nod_01jd2v00000000000000000000/desired"
    assert_problem(await api.get(missing, token=NODE_TOKEN), 404, "not_found")


async def test_the_repositorys_health_path_comes_before_the_projects(
    api: Api, work: UnitOfWork
) -> None:
    node = await add_node(work)
    version = await add_version(work, await add_site(work, health_path="/up"))
    conveyor = Conveyor(work)
    await finish_build(work, version, declared={"health_path": "/healthz"})
    await conveyor.settle()
    desired = (await api.get(f"/nodes/{node}/desired", token=NODE_TOKEN)).json
    assert [each["health_path"] for each in desired["instances"]] == ["/healthz"]


async def test_an_artifact_comes_as_it_was_stored(api: Api, tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    (tmp_path / "source").write_bytes(data)
    blob = await api.deps.blobs.put(tmp_path / "source")
    answer = await api.get(f"/artifacts/{blob.digest}", token=NODE_TOKEN)
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(len(data)))
    assert hashlib.sha256(answer.body).hexdigest() == blob.digest
    assert_problem(await api.get(f"/artifacts/{'0' * 64}", token=NODE_TOKEN), 404, "not_found")
    for digest in ("x", "..%2F..%2Fsource", blob.digest.upper()):
        answer = await api.get(f"/artifacts/{digest}", token=NODE_TOKEN)
        assert_problem(answer, 400, "invalid_input")
