"""One exchange: a request on its way to an instance, and the response on its way back.

Nothing is buffered whole. Bytes go on as they come; when one side does not keep up, the other is
not read. No task runs except while a new connection is being made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

from proxy import attempts, framing, headers, policy, refusals
from proxy.access_log import CLIENT_GONE
from proxy.attempts import Attempts
from proxy.edge import Edge
from proxy.heads import RequestHead, ResponseHead
from proxy.policy import Demand, Reply
from proxy.refusals import Refusal
from proxy.upstream import InstanceSilent, InstanceUnreachable
from proxy.upstream_connection import Fault, UpstreamConnection
from proxy.websocket import Tunnel
from zeitwork import clock, logs
from zeitwork.service import spawn

_log = logs.get(__name__)
_FAULTS: Final = {
    Fault.UNANSWERED: refusals.CLOSED,
    Fault.CLOSED: refusals.CLOSED,
    Fault.MALFORMED: refusals.MALFORMED,
    Fault.TIMEOUT: refusals.TIMEOUT,
}


class Client(Protocol):
    """The client's connection, as the exchange sees it."""

    @property
    def writable(self) -> bool:
        """Whether it keeps up with what is sent to it."""

    def send(self, data: bytes) -> None:
        """Send bytes of a response."""

    def pause_request(self) -> None:
        """Read no more of the request's body for now."""

    def resume_request(self) -> None:
        """Read on."""

    def answered(self, *, reusable: bool) -> None:
        """The response is complete; with `reusable` another request may follow it."""

    def break_off(self) -> None:
        """The response cannot be completed: close so that the client notices."""

    def enter(self, upstream: UpstreamConnection, *, ended: Callable[[Tunnel], None]) -> Tunnel:
        """Become one end of a tunnel; `ended` is called when it closes."""


class Exchange:
    """Finds an instance for a request and carries both messages."""

    __slots__ = (
        "_attempts",
        "_chunked",
        "_client",
        "_complete",
        "_connecting",
        "_connection",
        "_demand",
        "_edge",
        "_ended",
        "_head",
        "_held",
        "_keep_alive",
        "_trace",
        "line",
    )

    def __init__(
        self, edge: Edge, client: Client, *, peer: str, head: RequestHead, demand: Demand
    ) -> None:
        self.line = edge.new_line(peer)
        self._edge = edge
        self._client = client
        self._head = head
        self._demand = demand
        self._trace = edge.trace_of(head)
        self._attempts = Attempts(
            edge,
            demand.host,
            peer=peer,
            repeatable=attempts.repeatable(head.method, body=demand.body),
        )
        self._connection: UpstreamConnection | None = None
        self._connecting: asyncio.Task[UpstreamConnection] | None = None
        self._held = b""
        self._complete = False  # the request's body has come whole
        self._keep_alive = False
        self._chunked = False  # how the response goes to the client
        self._ended = False
        self.line.method = head.method.decode("ascii")
        self.line.host = demand.host
        self.line.path = demand.target.partition(b"?")[0].decode("ascii")
        self.line.trace_id = self._trace.trace_id

    @property
    def answering(self) -> bool:
        """Whether the client has got some of the final response."""
        return self.line.status != 0

    # Called by the client's connection.

    def start(self, payload: bytes, *, complete: bool) -> None:
        """Find an instance; `payload` is what came of the body together with the head."""
        self._complete = complete
        self._held = payload
        if self._over_limit(payload):
            return
        self._dial()
        if self._demand.continues and not payload and not complete and not self._ended:
            self._client.send(headers.CONTINUE)

    def body(self, payload: bytes, *, complete: bool) -> None:
        """Send on more of the request's body."""
        if self._over_limit(payload):
            return
        self._complete = complete
        if self._connection is None:
            self._held += payload
            self._client.pause_request()
        else:
            self._connection.send(self._framed(payload), complete=complete)

    def abandon(self, refusal: Refusal) -> None:
        """End it because of something the client did or failed to do."""
        self._refuse(refusal)

    def client_gone(self) -> None:
        """End it; nobody waits for the answer any more."""
        if self._ended:
            return
        self._drop_upstream()
        self.line.status = self.line.status or CLIENT_GONE
        self._end(error="client_gone")

    def pause_response(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume_response(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    # Called by the upstream connection (`proxy.upstream.Receiver`).

    def informed(self, head: ResponseHead) -> None:
        # We answered Expect ourselves, so 100 is not news; HTTP/1.0 knows no 1xx.
        if head.status != 100 and self._head.minor == 1:  # noqa: PLR2004
            self._client.send(headers.informational(head))

    def responded(
        self, head: ResponseHead, reply: Reply, payload: bytes, *, complete: bool
    ) -> None:
        self._attempts.answered(head.status)
        self.line.status = head.status
        self.line.seconds_to_head = clock.monotonic() - self.line.started
        data = headers.response(
            head,
            reply,
            framing=self._response_framing(reply),
            request_id=self.line.request_id,
            date=self._edge.date(),
        )
        self._client.send(data + self._response_part(payload, complete=complete))
        if complete:
            self._finish()

    def received(self, payload: bytes, *, complete: bool) -> None:
        data = self._response_part(payload, complete=complete)
        if data:
            self._client.send(data)
        if complete:
            self._finish()

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        connection = self._connection
        if connection is None:
            return
        if not (self._demand.websocket and policy.is_websocket_switch(head)):
            self._refuse(refusals.MALFORMED)
            return
        self._attempts.answered(head.status)
        self.line.status = head.status
        self._client.send(headers.switching(head, request_id=self.line.request_id))
        tunnel = self._client.enter(connection, ended=self._tunnel_ended)
        if rest:
            tunnel.from_upstream(rest)

    def failed(self, fault: Fault) -> None:
        connection, self._connection = self._connection, None
        if fault is not Fault.UNANSWERED:
            self._attempts.failed()
        elif self._attempts.unanswered(reused=connection is not None and connection.reused):
            self._dial(otherwise=_FAULTS[fault])
            return
        self._refuse(_FAULTS[fault])

    def pause_request(self) -> None:
        self._client.pause_request()

    def resume_request(self) -> None:
        self._client.resume_request()

    # The way there.

    def _dial(self, *, otherwise: Refusal | None = None) -> None:
        """Send to the next instance, or connect first; `otherwise` is the answer without one."""
        found = self._attempts.next(otherwise=otherwise)
        self.line.project_id = self._attempts.project_id
        if isinstance(found, Refusal):
            self._refuse(found)
            return
        self.line.instance_id = found.target.instance_id
        self.line.attempts = self._attempts.count
        connection = None if self._attempts.fresh_only else found.take()
        if connection is not None:
            self._send(connection)
        else:
            self._connecting = spawn(found.connect(), "edge-connect")
            self._connecting.add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[UpstreamConnection]) -> None:
        self._connecting = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            connection = task.result()
            if self._ended:
                connection.abort()
            else:
                self._send(connection)
            return
        if not isinstance(error, InstanceUnreachable | InstanceSilent):
            _log.error("connecting failed unexpectedly", exc_info=error)
        if self._ended:
            return
        refusal, again = self._attempts.unreachable(error)
        if again:
            self._dial(otherwise=refusal)
        else:
            self._refuse(refusal)

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        data = headers.request(
            self._head,
            self._demand,
            peer=self.line.client,
            scheme=self._edge.scheme,
            request_id=self.line.request_id,
            trace=self._trace,
        )
        data += self._framed(self._held)
        self._held = b""
        # Before the write, which may at once ask for a pause again.
        self._client.resume_request()
        connection.begin(self, data, method=self._head.method, complete=self._complete)
        if not self._client.writable:
            connection.pause()

    def _framed(self, payload: bytes) -> bytes:
        """The payload as it goes to the instance, with the end of the body if this was it."""
        if self._demand.body != "chunked":
            return payload
        data = framing.chunk(payload) if payload else b""
        return data + framing.LAST_CHUNK if self._complete else data

    def _over_limit(self, payload: bytes) -> bool:
        self.line.bytes_received += len(payload)
        if self.line.bytes_received <= self._edge.limits.body_bytes:
            return False
        self._refuse(refusals.BODY_TOO_LARGE)
        return True

    # The way back.

    def _response_framing(self, reply: Reply) -> bytes:
        """Decide how the client finds the end of the body, and say it in field lines."""
        # Behind a declined upgrade the client may already be sending another protocol.
        keep_alive = (
            self._demand.keep_alive and not self._demand.websocket and not self._edge.draining
        )
        lines = b""
        if reply.length is not None:
            lines = b"content-length: %d\r\n" % reply.length
        elif reply.reader is not None and self._head.minor == 1:
            self._chunked = True
            lines = b"transfer-encoding: chunked\r\n"
        elif reply.reader is not None:
            keep_alive = False
        self._keep_alive = keep_alive
        return lines + headers.connection(self._head.minor, keep_alive=keep_alive)

    def _response_part(self, payload: bytes, *, complete: bool) -> bytes:
        self.line.bytes_sent += len(payload)
        if not self._chunked:
            return payload
        data = framing.chunk(payload) if payload else b""
        return data + framing.LAST_CHUNK if complete else data

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()
        self._drop_upstream()
        self._end()
        self._client.answered(reusable=self._keep_alive and self._complete)

    def _refuse(self, refusal: Refusal) -> None:
        if self._ended:
            return
        self._drop_upstream()
        if self.answering:
            self._end(error=refusal.code)
            self._client.break_off()
            return
        keep_alive = (
            self._demand.keep_alive
            and self._complete
            and not refusal.closes
            and not self._demand.websocket
            and not self._edge.draining
        )
        page = self._edge.refuse(refusal, self.line, head=self._head, keep_alive=keep_alive)
        self._client.send(page)
        self._end(error=refusal.code)
        self._client.answered(reusable=keep_alive)

    def _tunnel_ended(self, tunnel: Tunnel) -> None:
        self.line.bytes_received += tunnel.received
        self.line.bytes_sent += tunnel.sent
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.leave()
        self._drop_upstream()
        self._end()

    def _drop_upstream(self) -> None:
        """Let go of the instance, and of a connection that did not end well."""
        connecting, connection = self._connecting, self._connection
        self._connecting = self._connection = None
        if connecting is not None:
            connecting.cancel()
        if connection is not None:
            connection.abort()
        self._attempts.end()

    def _end(self, *, error: str | None = None) -> None:
        self._ended = True
        self.line.error = error
        self.line.write()
