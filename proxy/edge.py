"""What all exchanges of a proxy process share."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Protocol

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from proxy import headers, pages, refusals
from proxy.access_log import Line
from proxy.date import HTTPDate
from proxy.headers import Trace
from proxy.heads import RequestHead
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.rates import Rates, client_of
from proxy.refusals import Refusal
from proxy.table import RoutingTable
from zeitwork import clock, metrics


class Routes(Protocol):
    """Where the current routing table is found."""

    @property
    def table(self) -> RoutingTable:
        """The table to use for the next request."""

    @property
    def loaded(self) -> bool:
        """Whether a missing host is unknown, and not merely unknown so far."""


class Edge:
    """Routes, upstreams, limits, and what every answer needs.

    Attributes:
        scheme: what visitors use; a terminator of TLS in front of us would make it https.
        draining: the process stops; connections end with the answer they wait for.
    """

    def __init__(
        self, routes: Routes, upstreams: Upstreams, limits: Limits, *, scheme: str = "http"
    ) -> None:
        self.routes = routes
        self.upstreams = upstreams
        self.limits = limits
        self.scheme = scheme
        self.draining = False
        self._client_rates = Rates(limits.client_rate, burst_seconds=limits.rate_burst_seconds)
        self._project_rates = Rates(limits.project_rate, burst_seconds=limits.rate_burst_seconds)
        self._date = HTTPDate()
        self._ids = RandomIdGenerator()

    def date(self) -> bytes:
        return self._date.now()

    def new_line(self, peer: str) -> Line:
        """The log line of a request that begins now, with a fresh request id."""
        return Line(peer, f"{self._ids.generate_trace_id():032x}", clock.monotonic())

    def trace_of(self, head: RequestHead) -> Trace:
        return headers.trace_of(
            head.fields,
            trace_id=self._ids.generate_trace_id(),
            span_id=self._ids.generate_span_id(),
        )

    def over_rate(self, project_id: str, peer: str) -> Refusal | None:
        """Count a request; the refusal when there were too many lately.

        The client's limit comes first: what it turns away takes nothing from the project's.
        """
        limits = self.limits
        if not limits.client_rate and not limits.project_rate:
            return None
        now = clock.monotonic()
        wait = self._client_rates.wait((project_id, client_of(peer)), now)
        wait = wait or self._project_rates.wait((project_id,), now)
        return replace(refusals.RATE_LIMITED, retry_after=math.ceil(wait)) if wait else None

    def refuse(
        self, refusal: Refusal, line: Line, *, head: RequestHead | None, keep_alive: bool
    ) -> bytes:
        """The answer to a request that is refused, counted and noted in its line."""
        line.status, line.error = refusal.status, refusal.code
        metrics.EDGE_REFUSALS.labels(refusal.code).inc()
        return pages.render(
            refusal,
            accept=head.first(b"accept") if head is not None else None,
            request_id=line.request_id,
            date=self.date(),
            connection=headers.connection(head.minor if head else 1, keep_alive=keep_alive),
            with_body=head is None or head.method != b"HEAD",
        )
