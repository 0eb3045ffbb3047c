"""A connection to an instance: one HTTP/1.1 exchange at a time.

It is kept for another only when nothing about it is in doubt: the response ended where its framing
said, nothing came behind it, and nobody asked to close.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Protocol, cast

from typing_extensions import override

from proxy import heads, policy
from proxy.deadline import Deadline
from proxy.framing import BadFraming, BodyReader, EndlessBody
from proxy.heads import HEAD_END, ResponseHead
from proxy.limits import Limits
from proxy.policy import Reply
from proxy.websocket import Tunnel


class Fault(Enum):
    """How a connection can fail its exchange."""

    UNANSWERED = auto()  # closed before any byte of a response
    CLOSED = auto()
    MALFORMED = auto()
    TIMEOUT = auto()


class Receiver(Protocol):
    """The exchange that a connection works for; nothing is called behind `complete` or a fault."""

    def informed(self, head: ResponseHead) -> None:
        """A 1xx response came, other than 101."""

    def responded(
        self, head: ResponseHead, reply: Reply, payload: bytes, *, complete: bool
    ) -> None:
        """The final response began; `payload` came with its head."""

    def received(self, payload: bytes, *, complete: bool) -> None:
        """More of the response's body came."""

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        """101 came; from `rest` on the bytes are not HTTP. The receiver takes over or aborts."""

    def failed(self, fault: Fault) -> None:
        """The connection is gone, the response is not complete."""

    def pause_request(self) -> None:
        """The instance does not keep up with the request's body."""

    def resume_request(self) -> None:
        """It does again."""


class Home(Protocol):
    """Where a connection is kept."""

    def keep(self, connection: UpstreamConnection) -> None:
        """Take it for another exchange, or close it."""

    def forget(self, connection: UpstreamConnection) -> None:
        """It is gone, if it was kept at all."""

    def carry(self, tunnel: Tunnel) -> None:
        """A tunnel leads to the instance."""

    def carried(self, tunnel: Tunnel) -> None:
        """It closed."""


class UpstreamConnection(asyncio.Protocol):
    """One connection to an instance."""

    __slots__ = (
        "_deadline",
        "_held",
        "_informed",
        "_limits",
        "_method",
        "_paused",
        "_reader",
        "_receiver",
        "_reusable",
        "_sent_all",
        "_tunnel",
        "_upstream",
        "reused",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, upstream: Home, limits: Limits, *, loop: asyncio.AbstractEventLoop) -> None:
        self.reused = False
        self._upstream = upstream
        self._limits = limits
        self._deadline = Deadline(loop, self._expired)
        self._receiver: Receiver | None = None
        self._reader: BodyReader | None = None
        self._tunnel: Tunnel | None = None
        self._method = b""
        self._held = b""
        self._informed = 0
        self._sent_all = False
        self._reusable = False
        self._paused = False

    def begin(self, receiver: Receiver, data: bytes, *, method: bytes, complete: bool) -> None:
        """Send a request, or with `complete` unset its beginning, for `receiver`."""
        self._receiver = receiver
        self._reader = None
        self._method = method
        self._held = b""
        self._informed = 0
        self._reusable = False
        self._deadline.clear()
        self.send(data, complete=complete)

    def send(self, data: bytes, *, complete: bool) -> None:
        """Send more of the request; behind its end the time for the response begins."""
        self._sent_all = complete
        self.transport.write(data)
        if complete and not self._paused:
            # A pause of the request may have cleared the deadline of a response already begun.
            limits = self._limits
            waiting = self._reader is None
            self._deadline.set(
                limits.response_head_seconds if waiting else limits.body_idle_seconds
            )

    def pause(self) -> None:
        """Take nothing more from the instance: the client does not keep up."""
        if not self._paused:
            self._paused = True
            self._deadline.clear()
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            self._deadline.set(self._limits.body_idle_seconds)
            self.transport.resume_reading()

    def release(self) -> None:
        """The exchange is over: keep the connection for another, or close it."""
        self._receiver = None
        self.resume()
        if self._reusable and self._sent_all and not self.transport.is_closing():
            self.reused = True
            self._deadline.set(self._limits.upstream_idle_seconds)
            self._upstream.keep(self)
        else:
            self.abort()

    def enter(self, tunnel: Tunnel) -> None:
        """Carry bytes for `tunnel` from now on."""
        self._receiver = None
        self._tunnel = tunnel
        self._deadline.clear()
        self._upstream.carry(tunnel)

    def leave(self) -> None:
        """The tunnel closed; what is still unsent has a moment to go out."""
        self._deadline.set(self._limits.linger_seconds)

    def abort(self) -> None:
        """Close without ceremony; the receiver, if any, is not told."""
        self._receiver = None
        self._deadline.close()
        self.transport.abort()

    # The rest is called by the event loop.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=self._limits.high_water_bytes)

    @override
    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
        elif self._receiver is None:
            # Nobody asked: whatever this is, it must not become the answer to the next request.
            self.abort()
        else:
            try:
                if self._reader is None:
                    self._read_head(self._receiver, self._held + data)
                else:
                    self._read_body(self._receiver, self._reader, data)
            except BadFraming:
                self._fail(Fault.MALFORMED)

    @override
    def eof_received(self) -> bool:
        self._ended(clean=True)
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.close()
        self._upstream.forget(self)
        if self._tunnel is not None:
            self._upstream.carried(self._tunnel)
        self._ended(clean=exc is None)

    @override
    def pause_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.pause_client()
        elif self._receiver is not None:
            self._deadline.set(self._limits.body_idle_seconds)
            self._receiver.pause_request()

    @override
    def resume_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.resume_client()
        elif self._receiver is not None:
            if not self._sent_all:
                self._deadline.clear()
            self._receiver.resume_request()

    def _read_head(self, receiver: Receiver, data: bytes) -> None:
        self._held = b""
        while True:
            end = data.find(HEAD_END)
            if (len(data) if end < 0 else end) > self._limits.response_head_bytes:
                raise BadFraming("the response head is too large")
            if end < 0:
                self._held = data
                return
            end += len(HEAD_END)
            head, data = heads.parse_response(data[:end]), data[end:]
            if head.status == 101:  # noqa: PLR2004
                receiver.switched(head, data)
                return
            if head.status >= 200:  # noqa: PLR2004
                self._respond(receiver, head, data)
                return
            self._informed += 1
            if self._informed > self._limits.informational_responses:
                raise BadFraming("too many informational responses")
            receiver.informed(head)
            if self._receiver is not receiver or not data:
                return

    def _respond(self, receiver: Receiver, head: ResponseHead, data: bytes) -> None:
        reply = policy.accept(head, method=self._method)
        self._reader = reply.reader
        payload, rest = (b"", data) if reply.reader is None else reply.reader.feed(data)
        self._reusable = reply.reusable and not rest
        self._deadline.set(self._limits.body_idle_seconds)
        receiver.responded(head, reply, payload, complete=rest is not None)

    def _read_body(self, receiver: Receiver, reader: BodyReader, data: bytes) -> None:
        payload, rest = reader.feed(data)
        if rest:
            self._reusable = False
        self._deadline.set(self._limits.body_idle_seconds)
        receiver.received(payload, complete=rest is not None)

    def _ended(self, *, clean: bool) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
        elif self._receiver is None:
            self._upstream.forget(self)
        elif clean and isinstance(self._reader, EndlessBody):
            self._receiver.received(b"", complete=True)
        elif self._reader is None and not self._held and not self._informed:
            self._fail(Fault.UNANSWERED)
        else:
            self._fail(Fault.CLOSED)

    def _expired(self) -> None:
        if self._receiver is None:
            self.abort()
        else:
            self._fail(Fault.TIMEOUT)

    def _fail(self, fault: Fault) -> None:
        receiver = self._receiver
        self.abort()
        if receiver is not None:
            receiver.failed(fault)
