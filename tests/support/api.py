"""The real API on a real socket, and a client for it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from db.session import UnitOfWork
from events.memory import MemoryBus
from events.queues import InspectableBus
from producers.api.call import Deps
from producers.api.routes import PREFIX
from producers.app import application
from producers.outbox_gauge import OutboxGauge
from producers.queues import QueueMeter
from producers.webhooks.intake import Intake
from producers.webhooks.signatures import sign
from zeitwork import sealing, tracing
from zeitwork.blobs import DiskBlobStore
from zeitwork.config import Settings

API_TOKEN = "token-of-the-user"
NODE_TOKEN = "token-of-the-nodes"
WEBHOOK_SECRET = "It's a Secret to Everybody"  # GitHub's own example
SECRET_KEY = sealing.new_key()
_TIMEOUT = aiohttp.ClientTimeout(total=30)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class SentEvent:
    """One server-sent event."""

    event: str
    id: int | None
    data: Any


class Api:
    """Calls the API; with the user's token unless told otherwise."""

    def __init__(self, base: str, session: aiohttp.ClientSession, deps: Deps) -> None:
        self.base = base
        self.deps = deps
        self._session = session

    async def get(self, path: str, **kwargs: Any) -> Answer:
        return await self.call("GET", path, **kwargs)

    async def post(self, path: str, body: object = None, **kwargs: Any) -> Answer:
        return await self.call("POST", path, json=body, **kwargs)

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = API_TOKEN,
        headers: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> Answer:
        sent = {**_bearer(token), **(headers or {})}
        async with self._session.request(
            method, self.base + path, headers=sent, **kwargs
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @asynccontextmanager
    async def follow(
        self, path: str, *, last_id: int | str | None = None
    ) -> AsyncIterator[AsyncIterator[SentEvent]]:
        """Server-sent events, once the stream is open."""
        headers = _bearer(API_TOKEN)
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        async with self._session.get(self.base + path, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            assert answer.content_type == "text/event-stream"
            yield _sent_events(answer.content)


def assert_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    """The answer is a whole problem document; its content."""
    assert answer.status == status, answer.body
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    document: dict[str, Any] = answer.json
    assert (document["status"], document["code"]) == (status, code)
    assert document["title"]
    assert document["detail"]
    assert len(document["trace_id"]) == 32
    return document


def push_body(**changes: Any) -> bytes:
    """A push payload with what matters of it, as GitHub writes it."""
    payload = {
        "ref": "refs/heads/main",
        "before": "6113728f27ae82c7b1a177c8d03f9e96e0adf246",
        "after": "59b20b8d5c6ff8d09518216e87bfad56e6d4f4a1",
        "created": False,
        "deleted": False,
        "forced": False,
        "repository": {
            "id": 186853002,
            "full_name": "Codertocat/Hello-World",
            "private": False,
            "clone_url": "https://github.com/Codertocat/Hello-World.git",
        },
        "pusher": {"name": "Codertocat", "email": "21031067+Codertocat@users.noreply.github.com"},
        "installation": {"id": 3, "node_id": "MDIz"},
        "head_commit": {"id": "59b20b8d5c6ff8d09518216e87bfad56e6d4f4a1", "message": "a change"},
        **changes,
    }
    return json.dumps(payload).encode()


async def deliver(
    api: Api,
    body: bytes | AsyncIterator[bytes] | None = None,
    *,
    guid: str | None = "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    event: str | None = "push",
    signature: str | None = "",
    **headers: str,
) -> Answer:
    """A webhook delivery, signed unless `signature` says otherwise (None: without one)."""
    sent = push_body() if body is None else body
    if signature == "":
        assert isinstance(sent, bytes)
        signature = sign(WEBHOOK_SECRET, sent)
    given = {
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": signature,
        "Content-Type": "application/json",
        **headers,
    }
    return await api.call(
        "POST",
        "/webhooks/github",
        data=io.BytesIO(sent) if isinstance(sent, bytes) else sent,
        token=None,
        headers={name: value for name, value in given.items() if value is not None},
    )


async def _sent_events(content: aiohttp.StreamReader) -> AsyncIterator[SentEvent]:
    fields: dict[str, str] = {}
    async for raw in content:
        line = raw.decode().rstrip("\n")
        if line == "" and "data" in fields:
            id_ = int(fields["id"]) if "id" in fields else None
            yield SentEvent(fields.get("event", "message"), id_, json.loads(fields["data"]))
        if line == "":
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


def _bearer(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def serving(deps: Deps) -> AsyncIterator[Api]:
    """The API of `deps` on a free port."""
    runner = web.AppRunner(application(deps), access_log=None, handler_cancellation=True)
    await runner.setup()
    await deps.intake.start()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            yield Api(f"http://{host}:{port}{PREFIX}", session, deps)
    finally:
        await runner.cleanup()
        await deps.intake.stop()


def dependencies(work: UnitOfWork, bus: InspectableBus, directory: Path, **changes: Any) -> Deps:
    settings: dict[str, Any] = {
        "environment": "test",
        "data_dir": directory,
        "api_token": API_TOKEN,
        "node_token": NODE_TOKEN,
        "github_webhook_secret": WEBHOOK_SECRET,
        "secret_keys": SECRET_KEY.text,
        "base_domain": "apps.test",
        "public_url": "http://apps.test:8000",
        **changes,
    }
    chosen = Settings(**settings)
    gauge = OutboxGauge(
        work,
        max_rows=chosen.api.outbox_max_rows,
        max_age_seconds=chosen.api.outbox_max_age_seconds,
    )
    blobs = DiskBlobStore(directory / "blobs")
    return Deps(
        chosen,
        work,
        bus,
        blobs,
        queues=QueueMeter(bus),
        outbox=gauge,
        intake=Intake(work),
        keys=sealing.ring(chosen.secret_keys),
    )


@pytest.fixture(scope="session")
def traces() -> None:
    """Spans with ids, as in a real process; OpenTelemetry takes one provider a process."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        tracing.configure(service="test", endpoint=None)


@pytest.fixture
def bus() -> MemoryBus:
    return MemoryBus()


@pytest.fixture
async def api(work: UnitOfWork, bus: MemoryBus, tmp_path: Path, traces: None) -> AsyncIterator[Api]:
    async with serving(dependencies(work, bus, tmp_path)) as served:
        yield served
