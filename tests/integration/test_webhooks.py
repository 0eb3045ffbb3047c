"""GitHub's webhooks: what is stored, what is refused, and once only."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pydantic import SecretStr

from db.engine import Database
from db.models import Outbox, WebhookDelivery
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.states import DeliveryState
from producers.webhooks.github import MAX_BODY_BYTES
from producers.webhooks.signatures import sign
from tests.support.api import (
    WEBHOOK_SECRET,
    Api,
    assert_problem,
    deliver,
    dependencies,
    push_body,
    serving,
)
from tests.support.database import execute
from tests.support.factories import events_of, every
from tests.support.servers import free_port
from zeitwork.errors import BrokerUnavailable

GUID = "72d3162e-cc78-11e3-81ab-4c9367dc0958"


async def assert_nothing_stored(work: UnitOfWork) -> None:
    assert await every(work, WebhookDelivery) == []
    assert await events_of(work.database) == []
    assert await every(work, Outbox) == []


async def test_a_push_is_stored_with_its_event(api: Api, work: UnitOfWork) -> None:
    body = push_body()
    answer = await deliver(api, body)
    assert (answer.status, answer.json) == (202, {"delivery": GUID, "outcome": "accepted"})
    [delivery] = await every(work, WebhookDelivery)
    assert (delivery.guid, delivery.event, delivery.action) == (GUID, "push", None)
    assert (delivery.state, delivery.reason) == (DeliveryState.RECEIVED, None)
    assert zstandard.decompress(delivery.body) == body
    [row] = await events_of(work.database)
    assert (row.type, row.aggregate_id) == ("push.received", delivery.id)
    assert json.loads(row.payload) == {
        "delivery_id": delivery.id,
        "github_repo": "codertocat/hello-world",
        "github_installation_id": 3,
        "ref": "refs/heads/main",
        "after": "59b20b8d5c6ff8d09518216e87bfad56e6d4f4a1",
        "deleted": False,
        "github_repo_id": 186853002,
        "clone_url": "https://github.com/Codertocat/Hello-World.git",
        "commit_message": "a change",
        "pusher": "Codertocat",
        "project_id": None,
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "pushed_at": None,
        "files": None,
        "skip_mark": None,
    }
    assert [waiting.event_log_id for waiting in await every(work, Outbox)] == [row.id]


async def test_what_became_of_a_delivery_can_be_read(api: Api) -> None:
    await deliver(api)
    shown = (await api.get(f"/webhooks/deliveries/{GUID}")).json
    assert (shown["guid"], shown["event"], shown["state"]) == (GUID, "push", "received")
    assert_problem(
        await api.get(f"/webhooks/deliveries/{GUID}", token=None), 401, "unauthenticated"
    )


async def test_the_event_carries_the_call_and_its_trace(api: Api, work: UnitOfWork) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    first = await deliver(api, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    second = await deliver(api, guid="another", traceparent="00-not-a-trace")
    rows = await events_of(work.database)
    for answer, row in zip((first, second), rows, strict=True):
        assert row.correlation_id == answer.headers["X-Request-Id"]
        assert row.headers["ce-correlationid"] == row.correlation_id
    traces = [row.headers["traceparent"].split("-")[1] for row in rows]
    assert traces[0] == trace
    assert traces[1] not in (trace, "0" * 32)


# --- Signatures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'\r\n\t{ "zen" :\n "Keep  it simple"\t}\r\n\r\n',
        '{"zen": "Gr\u00fc\u00dfe \u2603 \U0001f680"}'.encode(),
        b'{"zen": "\\u00fc \\ud83d\\ude80 \\/"}',
        b"\xef\xbb\xbf" + b'{"zen": "a byte order mark"}',
        b'{"a": 1, "a": 2, "b": 1.0e+02, "c": 123456789012345678901234567890}',
    ],
    ids=["whitespace", "unicode", "escapes", "byte order mark", "numbers"],
)
async def test_the_signature_is_over_the_bytes_as_they_came(
    api: Api, work: UnitOfWork, body: bytes
) -> None:
    digest = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha256).hexdigest()
    answer = await deliver(api, body, event="ping", signature=f"sha256={digest}")
    assert answer.status == 202
    [delivery] = await every(work, WebhookDelivery)
    assert zstandard.decompress(delivery.body) == body


async def test_a_body_that_means_the_same_is_not_the_same(api: Api, work: UnitOfWork) -> None:
    body = push_body()
    for other in (body + b"\n", json.dumps(json.loads(body), indent=1).encode()):
        assert json.loads(other) == json.loads(body)
        answer = await deliver(api, other, signature=sign(WEBHOOK_SECRET, body))
        assert_problem(answer, 401, "bad_signature")
    await assert_nothing_stored(work)


async def test_a_wrong_signature_is_refused_and_nothing_is_stored(
    api: Api, work: UnitOfWork
) -> None:
    body = push_body()
    genuine = sign(WEBHOOK_SECRET, body)
    digest = genuine.removeprefix("sha256=")
    sha1 = hmac.new(WEBHOOK_SECRET.encode(), body, hashlib.sha1).hexdigest()
    for signature in (
        None,
        " ",
        "sha256=",
        digest,
        f"sha1={sha1}",
        f"sha256={sha1}",
        f"sha1={digest}",
        genuine[:-1],
        genuine + "0",
        f"sha256={'0' * 64}",
        f"{genuine},{genuine}",
        "sha256=\u00e9",
        "sha256=\udcff",
        sign("", body),
        sign("another secret", body),
    ):
        answer = await deliver(api, body, signature=signature)
        problem = assert_problem(answer, 401, "bad_signature")
        assert WEBHOOK_SECRET not in problem["detail"]
        assert digest not in problem["detail"]
    answer = await deliver(api, body, signature=None, **{"X-Hub-Signature": f"sha1={sha1}"})
    assert_problem(answer, 401, "bad_signature")
    await assert_nothing_stored(work)


# --- Bodies and headers ---------------------------------------------------------------------------


async def test_a_signed_body_that_is_no_push_is_malformed_and_not_stored(
    api: Api, work: UnitOfWork, subtests: pytest.Subtests
) -> None:
    for body in [
        b"",
        b"{",
        b"[]",
        b"null",
        b"payload=%7B%7D",
        b"\xff\x00",
        b'{"a":' * 50_000,
        push_body(ref="main"),
        push_body(after="HEAD"),
        push_body(repository=None),
        push_body(repository={"full_name": "acme", "clone_url": "https://github.com/acme"}),
        push_body(installation={"id": "three"}),
    ]:
        with subtests.test(body=body[:20]):
            assert_problem(await deliver(api, body), 400, "malformed_body")
    await assert_nothing_stored(work)


async def test_the_headers_of_a_delivery_are_needed(api: Api, work: UnitOfWork) -> None:
    for guid in (None, " ", "a b", "x" * 65, "../..", "\u00e9"):
        problem = assert_problem(await deliver(api, guid=guid), 400, "invalid_input")
        assert "X-GitHub-Delivery" in problem["detail"]
    for event in (None, " ", "Push!", "x" * 65):
        problem = assert_problem(await deliver(api, event=event), 400, "invalid_input")
        assert "X-GitHub-Event" in problem["detail"]
    await assert_nothing_stored(work)


async def test_the_largest_body_is_taken_and_one_byte_more_is_not(
    api: Api, work: UnitOfWork
) -> None:
    body = b'{"zen": "' + b"x" * (MAX_BODY_BYTES - 11) + b'"}'
    assert len(body) == MAX_BODY_BYTES
    assert_problem(await deliver(api, body + b" ", event="ping"), 413, "body_too_large")
    chunked = await deliver(
        api, _chunks(body + b" "), event="ping", signature=sign(WEBHOOK_SECRET, body + b" ")
    )
    assert_problem(chunked, 413, "body_too_large")
    await assert_nothing_stored(work)
    assert (await deliver(api, body, event="ping")).status == 202
    again = await deliver(
        api, _chunks(body), event="ping", guid="chunked", signature=sign(WEBHOOK_SECRET, body)
    )
    assert again.status == 202
    assert [each.event for each in await every(work, WebhookDelivery)] == ["ping", "ping"]


async def test_a_ping_is_recorded_as_ignored(api: Api, work: UnitOfWork) -> None:
    answer = await deliver(api, b'{"zen": "Speak like a human.", "hook_id": 1}', event="ping")
    assert (answer.status, answer.json["outcome"]) == (202, "ignored")
    [delivery] = await every(work, WebhookDelivery)
    assert (delivery.state, delivery.reason) == (DeliveryState.IGNORED, "ping")
    assert delivery.finished_at is not None
    assert await events_of(work.database) == []


async def test_an_event_that_is_not_used_says_so(api: Api, work: UnitOfWork) -> None:
    answer = await deliver(api, b'{"action": "started"}', event="watch")
    assert (answer.status, answer.json["outcome"]) == (202, "ignored")
    assert answer.json["reason"] == "the event watch is not used"
    [delivery] = await every(work, WebhookDelivery)
    assert (delivery.event, delivery.action) == ("watch", "started")
    assert delivery.reason == answer.json["reason"]


@pytest.mark.parametrize("action", ["labeled", "assigned", None, 7])
async def test_what_changes_no_preview_is_recorded_as_ignored(
    api: Api, work: UnitOfWork, action: Any
) -> None:
    body = json.dumps({"action": action, "pull_request": {}}).encode()
    answer = await deliver(api, body, event="pull_request")
    assert (answer.status, answer.json["outcome"]) == (202, "ignored")
    [delivery] = await every(work, WebhookDelivery)
    assert "of a pull request changes no preview" in (delivery.reason or "")
    assert await events_of(work.database) == []


async def test_a_pull_request_is_stored_with_its_event(api: Api, work: UnitOfWork) -> None:
    pull = {
        "number": 3,
        "state": "open",
        "title": "A change",
        "updated_at": "2026-01-01T00:00:00Z",
        "head": {"ref": "x", "sha": "a" * 40, "repo": {"full_name": "Codertocat/Hello-World"}},
        "base": {"ref": "main"},
    }
    whole = {**json.loads(push_body()), "action": "opened", "pull_request": pull}
    answer = await deliver(api, json.dumps(whole).encode(), event="pull_request")
    assert (answer.status, answer.json["outcome"]) == (202, "accepted")
    [event] = await events_of(work.database)
    [delivery] = await every(work, WebhookDelivery)
    assert (event.type, event.aggregate_id) == ("pull_request.received", delivery.id)
    assert delivery.state is DeliveryState.RECEIVED


async def test_text_that_cannot_be_kept_as_it_is_loses_no_push(api: Api, work: UnitOfWork) -> None:
    body = push_body(
        head_commit={"message": "nul \x00 half \ud83d " + "x" * 10_000},
        pusher={"name": "a\x00b\udcff"},
        action="\x00",
    )
    assert (await deliver(api, body)).status == 202
    [row] = await events_of(work.database)
    said = json.loads(row.payload)
    assert said["commit_message"].startswith("nul \x00 half ? x")
    assert len(said["commit_message"]) == 500


# --- Once, and whole ------------------------------------------------------------------------------


async def test_a_delivery_that_comes_again_changes_nothing(api: Api, work: UnitOfWork) -> None:
    for outcome in ("accepted", "duplicate", "duplicate"):
        answer = await deliver(api)
        assert (answer.status, answer.json["outcome"]) == (202, outcome)
    assert len(await every(work, WebhookDelivery)) == 1
    assert len(await events_of(work.database)) == 1


async def test_a_delivery_that_comes_twenty_times_at_once_is_one_event(
    api: Api, work: UnitOfWork
) -> None:
    answers = await asyncio.gather(*(deliver(api) for _ in range(20)))
    assert [answer.status for answer in answers] == [202] * 20
    outcomes = sorted(answer.json["outcome"] for answer in answers)
    assert outcomes == ["accepted", *["duplicate"] * 19]
    assert len(await every(work, WebhookDelivery)) == 1
    assert len(await events_of(work.database)) == 1
    assert len(await every(work, Outbox)) == 1


async def test_a_delivery_and_its_event_are_stored_together_or_not_at_all(
    api: Api, work: UnitOfWork, migrated_url: str
) -> None:
    """Otherwise GitHub's next attempt would be a duplicate, and the push lost."""
    execute(
        migrated_url,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''the disk is full'' USING ERRCODE = ''disk_full''; END';
        CREATE TRIGGER refuse BEFORE INSERT ON outbox EXECUTE FUNCTION refuse();
        """,
    )
    refused = await deliver(api)
    assert_problem(refused, 503, "database_unavailable")
    await assert_nothing_stored(work)
    execute(migrated_url, "DROP TRIGGER refuse ON outbox")
    assert (await deliver(api)).json["outcome"] == "accepted"
    assert len(await events_of(work.database)) == 1


async def test_a_delivery_is_stored_while_the_broker_is_away(
    work: UnitOfWork, bus: MemoryBus, database: Database, tmp_path: Path, traces: None
) -> None:
    async def wake(_streams: Collection[str]) -> None:
        raise BrokerUnavailable("NATS did not confirm")

    deps = dependencies(UnitOfWork(database, wake=wake), bus, tmp_path)
    async with serving(deps) as api:
        assert (await deliver(api)).status == 202
    assert len(await every(work, Outbox)) == 1


async def test_without_its_database_github_is_told_to_come_back(
    bus: MemoryBus, tmp_path: Path, traces: None
) -> None:
    away = Database(SecretStr(f"postgresql://x@127.0.0.1:{free_port()}/x"), application="test")
    async with serving(dependencies(UnitOfWork(away), bus, tmp_path)) as api:
        answer = await deliver(api)
        assert_problem(answer, 503, "database_unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert_problem(await deliver(api, signature="sha256=0"), 401, "bad_signature")
    await away.stop()


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 256 * 1024):
        yield body[start : start + 256 * 1024]
