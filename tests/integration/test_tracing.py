"""One push through a whole platform is one trace, and one correlation id in every log."""

from __future__ import annotations

import http.server
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from typing_extensions import override

from cli.platform_file import load
from tests.support.eventually import eventually
from tests.support.platform import PlatformProcess, running
from tests.support.pushes import Repository, deliver, json_of, push_body, request, visit

pytestmark = [pytest.mark.timeout(180), pytest.mark.xdist_group("platform")]

EXPECTED = {
    "zeitwork-api": {"POST /api/v1/webhooks/github"},
    "zeitwork-consumers": {
        "process build-production-v1",
        "process deployments-v1",
        "process github-v1",
        "process instances-v1",
        "process routing-v1",
        "process scheduling-v1",
    },
    "zeitwork-node": {"start instance", "fetch artifact"},
}


class Collector:
    """Takes OTLP over HTTP.

    Attributes:
        traces: (service, span's name) by trace id.
        spans: trace id, parent's id and name by span id.
    """

    def __init__(self) -> None:
        self.traces: dict[str, set[tuple[str, str]]] = defaultdict(set)
        self.spans: dict[str, tuple[str, str, str]] = {}
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            @override
            def log_message(self, *args: object) -> None:
                """Stay quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body: bytes) -> None:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            facts = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    trace = span.trace_id.hex()
                    self.traces[trace].add((facts["service.name"], span.name))
                    facts_of = (trace, span.parent_span_id.hex(), span.name)
                    self.spans[span.span_id.hex()] = facts_of


@contextmanager
def collecting() -> Iterator[Collector]:
    collector = Collector()
    thread = threading.Thread(target=collector.server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        collector.server.shutdown()
        collector.server.server_close()
        thread.join()


async def test_a_push_is_one_trace_and_one_correlation_through_every_service(
    tmp_path: Path,
) -> None:
    repository = Repository(tmp_path / "repository")
    data = tmp_path / "data"
    with collecting() as collector:
        settings = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "ZEITWORK_LOG_FORMAT": "json",
            "ZEITWORK_LOG_LEVEL": "debug",
        }
        with running(data, **settings) as process:
            deployment = await _push(process, repository)
            trace = await eventually(lambda: _whole(collector), timeout=30)
            assert process.stop() == 0

    assert _rooted_at(collector, trace) == {"POST /api/v1/webhooks/github"}
    correlation = deployment["correlation_id"]
    by_trace = [line for line in _log_lines(data) if line.get("trace_id") == trace]
    assert {line["service"] for line in by_trace} >= {"consumers", "node"}
    assert {line.get("correlation_id") for line in by_trace} == {correlation}
    ours = [line for line in _log_lines(data) if line.get("correlation_id") == correlation]
    assert {line["trace_id"] for line in ours} == {trace}


async def _push(process: PlatformProcess, repository: Repository) -> Any:
    """Push a site and wait until it is served; its deployment."""
    file = load(process.data)
    assert file is not None
    created = process.run(
        "projects", "create", "traced", "--repo", "acme/traced", "--clone-url", repository.url,
        "--json",
    )  # fmt: skip
    assert created.code == 0, created.err
    sha = repository.commit({"index.html": "traced"})
    body = push_body("acme/traced", sha, repository.url)
    assert deliver(process.api_url, file.webhook_secret, body).status == 202
    await eventually(
        lambda: visit(process.proxy_url, "traced.localhost").body == "traced", timeout=60
    )
    found = request(
        f"{process.api_url}/api/v1/deployments?project=traced&limit=1",
        headers={"Authorization": f"Bearer {file.api_token}"},
    )
    return json_of(found)["items"][0]


def _whole(collector: Collector) -> str:
    """The trace of the webhook, once it holds all that is expected."""
    wanted = {(service, name) for service, names in EXPECTED.items() for name in names}
    webhook = ("zeitwork-api", "POST /api/v1/webhooks/github")
    found = [trace for trace, spans in [*collector.traces.items()] if webhook in spans]
    assert len(found) == 1, f"{len(found)} traces begin with a webhook"
    missing = wanted - collector.traces[found[0]]
    assert not missing, f"the trace lacks {sorted(missing)}"
    return found[0]


def _rooted_at(collector: Collector, trace: str) -> set[str]:
    """Names of the spans of the trace whose parent it does not hold."""
    return {
        name
        for owner, parent, name in collector.spans.values()
        if owner == trace and parent not in collector.spans
    }


def _log_lines(data: Path) -> list[dict[str, Any]]:
    lines = []
    for path in sorted((data / "logs").glob("*.log")):
        for line in path.read_text(errors="replace").splitlines():
            found = line[line.find("{") :] if "{" in line else ""
            if found.startswith('{"'):
                lines.append(json.loads(found))
    return lines
