"""What is said about each request: one structured line, and the counters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from zeitwork import clock, logs, metrics

CLIENT_GONE: Final = 499  # nginx's word for it; never sent to anyone

_log = logs.get(__name__)
_by_class = {str(number): metrics.EDGE_REQUESTS.labels(f"{number}xx") for number in range(1, 6)}


@dataclass(slots=True)
class Line:
    """One request, filled in on its way. Paths are logged without their query: it may hold tokens.

    Attributes:
        error: the code of the refusal, or how the exchange broke off.
        attempts: connections to instances that were tried or used.
        seconds_to_head: from the end of the request's head to the response's.
    """

    client: str
    request_id: str
    started: float
    method: str = ""
    host: str = ""
    path: str = ""
    status: int = 0
    error: str | None = None
    trace_id: str | None = None
    project_id: str | None = None
    instance_id: str | None = None
    attempts: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    seconds_to_head: float | None = None

    def write(self) -> None:
        """Say it, once, when nothing more can happen."""
        _by_class[str(self.status)[0]].inc()
        if self.seconds_to_head is not None:
            metrics.EDGE_SECONDS.observe(self.seconds_to_head)
        if not _log.isEnabledFor(logging.INFO):
            return
        _log.info(
            "request",
            client=self.client,
            request_id=self.request_id,
            method=self.method,
            host=self.host,
            path=self.path,
            status=self.status,
            error=self.error,
            trace_id=self.trace_id,
            project_id=self.project_id,
            instance_id=self.instance_id,
            attempts=self.attempts,
            bytes_received=self.bytes_received,
            bytes_sent=self.bytes_sent,
            seconds_to_head=self.seconds_to_head,
            seconds=round(clock.monotonic() - self.started, 6),
        )
