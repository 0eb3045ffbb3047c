"""Whatever goes wrong, the caller gets one RFC 9457 problem with a code."""

from __future__ import annotations

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr
from typing_extensions import override

from db.engine import Database
from db.models import Organisation
from db.session import UnitOfWork
from events.memory import MemoryBus
from producers.api.call import Access
from producers.api.routes import PREFIX, ROUTES
from tests.support.api import API_TOKEN, NODE_TOKEN, Api, assert_problem, dependencies, serving
from tests.support.factories import every
from tests.support.servers import free_port
from zeitwork.blobs import Blob, DiskBlobStore

MIB = 1024 * 1024
NODE = {
    "name": "one",
    "address": "127.0.0.1",
    "runtime": "process",
    "architecture": "x86_64",
    "cpu_millis": 4000,
    "memory_mib": 8192,
}


async def test_an_unknown_path_is_a_problem(api: Api) -> None:
    for path in ("/nothing", "/organisations/", "/../organisations", "/%00"):
        assert_problem(await api.get(path), 404, "not_found")


async def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    answer = await api.call("DELETE", "/projects")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST"
    answer = await api.get("/webhooks/github")
    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


async def test_a_body_that_is_not_a_json_object_is_malformed(
    api: Api, subtests: pytest.Subtests
) -> None:
    for body in [
        b"{",
        b"\xff\xfe{",
        b'{"slug": "a"} trailing',
        b"[]",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b'{"slug": ' + b"9" * 5000 + b"}",
    ]:
        with subtests.test(body=body[:20]):
            assert_problem(
                await api.call("POST", "/organisations", data=body), 400, "malformed_body"
            )


async def test_each_field_at_fault_has_a_json_pointer(api: Api) -> None:
    body = {
        "organisation": "acme",
        "slug": 7,
        "clone_url": "javascript:alert(1)",
        "root_directory": "../..",
        "a/b~c": 1,
    }
    problem = assert_problem(await api.post("/projects", body), 400, "invalid_fields")
    assert {error["pointer"]: error["code"] for error in problem["errors"]} == {
        "/slug": "string_type",
        "/clone_url": "string_pattern_mismatch",
        "/root_directory": "value_error",
        "/a~1b~0c": "extra_forbidden",
    }
    assert all(error["message"] for error in problem["errors"])


async def test_missing_fields_are_named(api: Api) -> None:
    problem = assert_problem(await api.post("/organisations", {}), 400, "invalid_fields")
    assert problem["errors"] == [
        {"pointer": "/slug", "code": "missing", "message": "Field required"}
    ]
    assert "/slug" in problem["detail"]
    assert_problem(await api.call("POST", "/organisations"), 400, "invalid_fields")


async def test_a_rule_of_the_whole_body_points_at_the_whole(api: Api) -> None:
    answer = await api.post("/projects", {"organisation": "acme", "slug": "shop"})
    problem = assert_problem(answer, 400, "invalid_fields")
    assert [error["pointer"] for error in problem["errors"]] == [""]


async def test_types_are_not_guessed(api: Api, subtests: pytest.Subtests) -> None:
    for number in ["4000", True, 4000.0, None, float("nan")]:
        with subtests.test(number=number):
            answer = await api.post("/nodes", {**NODE, "cpu_millis": number}, token=NODE_TOKEN)
            problem = assert_problem(answer, 400, "invalid_fields")
            assert [error["pointer"] for error in problem["errors"]] == ["/cpu_millis"]


async def test_a_problem_does_not_repeat_what_was_sent(api: Api) -> None:
    answer = await api.post("/organisations", {"slug": "s3cret value", "password": "hunter2"})
    assert_problem(answer, 400, "invalid_fields")
    assert b"s3cret" not in answer.body
    assert b"hunter2" not in answer.body


async def test_query_parameters_are_checked_too(api: Api) -> None:
    for query in ("limit=0", "limit=501", "limit=many"):
        problem = assert_problem(await api.get(f"/events?{query}"), 400, "invalid_fields")
        assert [error["pointer"] for error in problem["errors"]] == ["/limit"]
    assert_problem(await api.get("/deployments?page=2"), 400, "invalid_fields")


async def test_what_cannot_be_an_id_is_invalid_input(api: Api, subtests: pytest.Subtests) -> None:
    for path in [
        "/builds/bld_x",
        "/deployments/prj_01jd2v00000000000000000000",
        "/deployments?before=x",
        "/projects?after=dep_01jd2v00000000000000000000",
        "/projects/%00",
        "/projects/prj_!",
        "/events?correlation=%00",
        "/instances/ins_x/logs/stream",
        "/webhooks/deliveries/%00",
    ]:
        with subtests.test(path=path):
            assert_problem(await api.get(path), 400, "invalid_input")


async def test_what_does_not_exist_is_not_found(api: Api, subtests: pytest.Subtests) -> None:
    for path in [
        "/builds/bld_01jd2v00000000000000000000",
        "/builds/bld_01jd2v00000000000000000000/logs",
        "/builds/bld_01jd2v00000000000000000000/logs/stream",
        "/deployments/dep_01jd2v00000000000000000000",
        "/deployments/dep_01jd2v00000000000000000000/instances",
        "/deployments?project=none",
        "/events?project=none",
        "/instances/ins_01jd2v00000000000000000000/logs/stream",
        "/projects/none",
        "/projects/prj_01jd2v00000000000000000000",
        "/webhooks/deliveries/none",
    ]:
        with subtests.test(path=path):
            assert_problem(await api.get(path), 404, "not_found")


async def test_a_number_beyond_the_database_is_invalid_input(api: Api) -> None:
    answer = await api.post("/nodes", {**NODE, "cpu_millis": 10**12}, token=NODE_TOKEN)
    assert_problem(answer, 400, "invalid_input")


async def test_a_body_over_the_limit_is_refused_with_and_without_its_length(
    api: Api, work: UnitOfWork
) -> None:
    body = json.dumps({"slug": "acme", "name": "x" * MIB}).encode()
    for sent in (io.BytesIO(body), _chunks(body)):
        answer = await api.call("POST", "/organisations", data=sent)
        assert_problem(answer, 413, "body_too_large")
    assert await every(work, Organisation) == []


async def test_a_body_that_is_not_encoded_as_it_says_is_malformed(
    api: Api, work: UnitOfWork
) -> None:
    answer = await api.call(
        "POST",
        "/organisations",
        data=b'{"slug": "acme"}',
        headers={"Content-Encoding": "gzip"},
    )
    assert_problem(answer, 400, "malformed_body")
    assert await every(work, Organisation) == []


async def test_a_caller_that_waits_to_be_asked_for_its_body_is_asked(api: Api) -> None:
    answer = await api.post("/organisations", {"slug": "acme"}, expect100=True)
    assert answer.status == 201
    assert_problem(
        await api.post("/organisations", {"slug": 1}, expect100=True), 400, "invalid_fields"
    )


async def test_an_expectation_that_nobody_knows_is_ignored(api: Api) -> None:
    answer = await api.post("/organisations", {"slug": "acme"}, headers={"Expect": "miracles"})
    assert answer.status == 201


# --- Who may call --------------------------------------------------------------------------------


async def test_without_the_token_nothing_is_shown(api: Api, subtests: pytest.Subtests) -> None:
    for authorization in [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {API_TOKEN}",
        API_TOKEN,
        f"Bearer {API_TOKEN}x",
        f"Bearer  {API_TOKEN}",
        "Bearer t\u00f6ken",
        "Bearer \udcff\udcfe",
    ]:
        with subtests.test(authorization=authorization):
            headers = {} if authorization is None else {"Authorization": authorization}
            answer = await api.get("/organisations", token=None, headers=headers)
            assert_problem(answer, 401, "unauthenticated")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert API_TOKEN.encode() not in answer.body


async def test_the_scheme_may_be_in_any_case(api: Api) -> None:
    headers = {"Authorization": f"bearer {API_TOKEN}"}
    assert (await api.get("/organisations", token=None, headers=headers)).status == 200


async def test_the_tokens_of_people_and_of_nodes_open_their_own_routes_only(api: Api) -> None:
    for endpoint in ROUTES:
        if endpoint.access is Access.PUBLIC:
            continue
        wrong = NODE_TOKEN if endpoint.access is Access.USER else API_TOKEN
        for token in (None, wrong):
            path = re.sub(r"\{\w+\}", "x", endpoint.path)
            answer = await api.call(endpoint.method, path, token=token)
            assert_problem(answer, 401, "unauthenticated")


async def test_a_token_that_is_not_set_opens_nothing(
    work: UnitOfWork, bus: MemoryBus, tmp_path: Path, traces: None
) -> None:
    deps = dependencies(work, bus, tmp_path, api_token="", node_token="")
    async with serving(deps) as api:
        for path in ("/organisations", "/nodes/nod_01jd2v00000000000000000000/desired"):
            answer = await api.get(path, token=None, headers={"Authorization": "Bearer "})
            assert_problem(answer, 401, "unauthenticated")


# --- When the platform is at fault ---------------------------------------------------------------


async def test_without_its_database_the_api_asks_to_come_back(
    bus: MemoryBus, tmp_path: Path, traces: None
) -> None:
    url = SecretStr(f"postgresql://zeitwork:hunter2@127.0.0.1:{free_port()}/nowhere")
    away = Database(url, application="test")
    async with serving(dependencies(UnitOfWork(away), bus, tmp_path)) as api:
        for answer in (
            await api.get("/organisations"),
            await api.post("/organisations", {"slug": "acme"}),
        ):
            problem = assert_problem(answer, 503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"
            assert problem["retryable"] is True
            assert problem["category"] == "platform"
            assert b"hunter2" not in answer.body
    await away.stop()


class BrokenStore(DiskBlobStore):
    """A store with a fault that nobody thought of, before or during the answer."""

    @override
    async def find(self, digest: str) -> Blob | None:
        if digest == "a":
            raise RuntimeError("the passphrase is hunter2")
        return Blob(digest, 2 * MIB)

    @override
    async def read(self, digest: str) -> AsyncIterator[bytes]:
        yield b"x" * MIB
        raise RuntimeError("the passphrase is hunter2")


@pytest.fixture
async def broken(
    work: UnitOfWork, bus: MemoryBus, tmp_path: Path, traces: None
) -> AsyncIterator[Api]:
    whole = dependencies(work, bus, tmp_path)
    deps = replace(whole, blobs=BrokenStore(tmp_path))
    async with serving(deps) as api:
        yield api


async def test_a_crash_shows_an_id_and_no_detail(broken: Api) -> None:
    answer = await broken.get("/artifacts/a", token=NODE_TOKEN)
    problem = assert_problem(answer, 500, "internal_error")
    assert b"hunter2" not in answer.body
    assert problem["retryable"] is False


async def test_an_answer_that_has_begun_is_cut(broken: Api) -> None:
    """A problem document inside it would pass for its content."""
    with pytest.raises(aiohttp.ClientPayloadError):
        await broken.get("/artifacts/b", token=NODE_TOKEN)


async def test_every_answer_names_its_request_and_its_trace(api: Api) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    answer = await api.get("/nothing", headers=headers)
    assert assert_problem(answer, 404, "not_found")["trace_id"] == trace
    first, second = await api.get("/organisations"), await api.get("/organisations")
    assert first.headers["X-Request-Id"] != second.headers["X-Request-Id"]


async def test_a_body_that_breaks_off_leaves_nothing(api: Api, work: UnitOfWork) -> None:
    host, port = api.base.removeprefix("http://").removesuffix(PREFIX).split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {PREFIX}/organisations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {API_TOKEN}\r\n"
    )
    writer.write(f'{head}Content-Length: 17\r\n\r\n{{"slug": "acme"}}'.encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    del reader
    assert (await api.get("/organisations")).json["items"] == []


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 64 * 1024):
        yield body[start : start + 64 * 1024]
