"""The client's side of a connection: cuts requests off the stream, one at a time.

What a client sends ahead waits unparsed, up to a bound, until the request in hand is answered and
the client has taken most of the answer; so answers keep their order, and a flood of pipelined
requests costs no more than its bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol, cast

from typing_extensions import override

from proxy import headers, heads, policy, refusals
from proxy.deadline import Deadline
from proxy.edge import Edge
from proxy.forward import Exchange
from proxy.framing import BadFraming, BodyReader
from proxy.heads import RequestHead
from proxy.patience import Patience
from proxy.rates import client_of
from proxy.refusals import Refusal, Refused
from proxy.sockets import reset_on_close
from proxy.upstream_connection import UpstreamConnection
from proxy.websocket import Tunnel
from zeitwork import clock, metrics

_CRLF = b"\r\n"


class _State(Enum):
    """What the next bytes from the client are."""

    HEAD = auto()
    BODY = auto()
    AHEAD = auto()  # a request's, while the one before is being answered
    TUNNEL = auto()
    LOST = auto()  # nothing of use: the last answer is out, or the connection is broken


class Registry(Protocol):
    """Where open connections are kept."""

    def entered(self, connection: ClientConnection) -> str | None:
        """Count a connection; the reason when it may not stay."""

    def left(self, connection: ClientConnection) -> None:
        """It is gone."""


class ClientConnection(asyncio.Protocol):
    """One visitor's connection."""

    __slots__ = (
        "_begun",
        "_deadline",
        "_edge",
        "_exchange",
        "_half_closed",
        "_limits",
        "_patience",
        "_paused",
        "_peer",
        "_reader",
        "_registry",
        "_rest",
        "_running",
        "_skipped",
        "_state",
        "_tunnel",
        "client",
        "transport",
        "writable",
    )

    transport: asyncio.Transport

    def __init__(self, edge: Edge, registry: Registry, *, loop: asyncio.AbstractEventLoop) -> None:
        self.writable = True
        self._edge = edge
        self._limits = edge.limits
        self._registry = registry
        self._deadline = Deadline(loop, self._expired)
        self._peer = ""
        self.client = ""
        self._patience: Patience | None = None
        self._state = _State.HEAD
        self._rest = b""
        self._begun = False  # part of a head is in `_rest`
        self._skipped = False
        self._running = False
        self._paused = False
        self._half_closed = False
        self._reader: BodyReader | None = None
        self._exchange: Exchange | None = None
        self._tunnel: Tunnel | None = None

    @property
    def tunnelling(self) -> bool:
        return self._state is _State.TUNNEL

    def drain(self) -> None:
        """Close now if no request has begun; else its answer will be the last."""
        if self._state is _State.HEAD and not self._begun:
            self.close()

    def close(self) -> None:
        """Close; what was written already is still sent. The ends of a tunnel are told before."""
        if self._state is _State.TUNNEL and self._tunnel is not None:
            self._tunnel.go_away()
            return
        self._state = _State.LOST
        self._deadline.set(self._limits.body_idle_seconds)
        self.transport.close()

    def abort(self) -> None:
        self._state = _State.LOST
        self.transport.abort()

    # Called by the exchange (`proxy.forward.Client`).

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_request(self) -> None:
        if self._state is _State.BODY and self._patience is not None:
            self._patience.pause(clock.monotonic())
            self._deadline.clear()
        self._pause()

    def resume_request(self) -> None:
        if self._state is _State.BODY and self._patience is not None:
            self._deadline.set(self._patience.resume(clock.monotonic()))
        self._resume()

    def answered(self, *, reusable: bool) -> None:
        self._exchange = None
        whole = self._state is _State.AHEAD
        if not reusable or self._edge.draining:
            self._close_behind_answer(whole=whole)
            return
        self._state = _State.HEAD
        self._reader = None
        self._begun = False
        self._skipped = False
        self._deadline.set(self._limits.keep_alive_seconds)
        if not self._running:
            self._go_on()

    def break_off(self) -> None:
        reset_on_close(self.transport)
        self._exchange = None
        self.abort()

    def enter(self, upstream: UpstreamConnection, *, ended: Callable[[Tunnel], None]) -> Tunnel:
        def over(tunnel: Tunnel) -> None:
            self._state = _State.LOST
            self._deadline.set(self._limits.linger_seconds)
            ended(tunnel)

        tunnel = Tunnel(
            client=self.transport,
            upstream=upstream.transport,
            moved=self._touch,
            ended=over,
            linger_seconds=self._limits.linger_seconds,
        )
        upstream.enter(tunnel)
        self._tunnel = tunnel
        self._exchange = None
        self._state = _State.TUNNEL
        self._touch()
        self._resume()
        rest, self._rest = self._rest, b""
        if rest:
            tunnel.from_client(rest)
        if not self.writable:
            tunnel.pause_upstream()
        if self._edge.draining:
            tunnel.go_away()
        return tunnel

    # The rest is called by the event loop.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio.Transport.
        self.transport = cast("asyncio.Transport", transport)
        self._peer = headers.address_of(self.transport.get_extra_info("peername"))
        self.client = client_of(self._peer)
        reason = self._registry.entered(self)
        if reason is not None:
            metrics.EDGE_REFUSALS.labels(reason).inc()
            self.abort()
            return
        self.transport.set_write_buffer_limits(high=self._limits.high_water_bytes)
        self._deadline.set(self._limits.head_seconds)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()
        self._deadline.close()
        self._registry.left(self)

    @override
    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.from_client(data)
        elif self._state is not _State.LOST:
            rest, self._rest = self._rest, b""
            self._run(rest + data)

    @override
    def eof_received(self) -> bool:
        """Whether to keep the way back open: FIN may only mean that the request is all there is."""
        if self._state is _State.AHEAD or (self._state is _State.HEAD and not self.writable):
            self._half_closed = True
            self._deadline.set(self._limits.half_close_seconds)
            return True
        self._gone()
        return False

    @override
    def pause_writing(self) -> None:
        self.writable = False
        if self._tunnel is not None:
            self._tunnel.pause_upstream()
        elif self._exchange is not None:
            self._exchange.pause_response()
            self._deadline.set(self._limits.body_idle_seconds)

    @override
    def resume_writing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.resume_upstream()
        elif self._exchange is not None:
            if self._state is _State.AHEAD:
                self._deadline.clear()
            self._exchange.resume_response()
        elif self._state is _State.HEAD:
            self._go_on()

    def _run(self, data: bytes) -> None:
        """Take in what came; nested calls, from answers given at once, leave it to the outer."""
        self._running = True
        try:
            while data:
                if self._state is _State.HEAD and self.writable:
                    data = self._read_head(data)
                elif self._state is _State.BODY:
                    data = self._read_body(data)
                else:
                    if self._state in {_State.HEAD, _State.AHEAD}:
                        self._keep(data)
                    return
        finally:
            self._running = False

    def _go_on(self) -> None:
        """Take up what was sent ahead; behind it close, if nothing more can come."""
        rest, self._rest = self._rest, b""
        self._resume()
        if rest:
            self._run(rest)
        if self._half_closed and self._state is _State.HEAD and self.writable:
            self.close()

    def _read_head(self, data: bytes) -> bytes:
        """Begin an exchange if the head is complete; the bytes behind what was used."""
        if not self._skipped and data.startswith(_CRLF):
            self._skipped = True  # RFC 9112 §2.2: one empty line before a request is forgiven
            return data[len(_CRLF) :]
        try:
            end = heads.end_of(data, self._limits)
        except Refused as error:
            self._refuse(error.refusal, head=None)
            return b""
        if not end:
            if not self._begun:
                self._begun = True
                self._deadline.set(self._limits.head_seconds)
            self._rest = data
            return b""
        return self._begin(data[:end], data[end:])

    def _begin(self, raw: bytes, data: bytes) -> bytes:
        """Judge a head and hand it over; `data` came behind it."""
        head, payload, rest = None, b"", data
        try:
            head = heads.parse_request(raw)
            demand = policy.admit(head, self._limits)
            self._reader = demand.reader()
            complete = self._reader is None
            if self._reader is not None:
                payload, behind = self._reader.feed(data)
                complete, rest = behind is not None, behind or b""
        except Refused as error:
            self._refuse(error.refusal, head=head)
            return b""
        except BadFraming:
            self._refuse(refusals.BAD_BODY, head=head)
            return b""
        if complete:
            self._state = _State.AHEAD
            self._deadline.clear()
        else:
            self._state = _State.BODY
            self._patience = Patience(clock.monotonic(), self._limits)
            self._deadline.set(self._limits.body_idle_seconds)
        exchange = Exchange(self._edge, self, peer=self._peer, head=head, demand=demand)
        self._exchange = exchange
        exchange.start(payload, complete=complete)
        return rest

    def _read_body(self, data: bytes) -> bytes:
        """Hand on part of a body; the bytes behind its end."""
        exchange, reader = self._exchange, self._reader
        if exchange is None or reader is None:
            return b""
        try:
            payload, rest = reader.feed(data)
        except BadFraming:
            exchange.abandon(refusals.BAD_BODY)
            return b""
        if rest is None and self._patience is not None:
            self._deadline.set(self._patience.arrived(len(data), clock.monotonic()))
        else:
            self._state = _State.AHEAD
            self._deadline.clear()
        exchange.body(payload, complete=rest is not None)
        return rest or b""

    def _keep(self, data: bytes) -> None:
        """Hold what was sent ahead."""
        self._rest = data
        if len(data) > self._limits.pipeline_bytes:
            self._pause()

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and len(self._rest) <= self._limits.pipeline_bytes:
            self._paused = False
            self.transport.resume_reading()

    def _refuse(self, refusal: Refusal, *, head: RequestHead | None) -> None:
        """Answer a request that became no exchange, and take nothing more from this client."""
        line = self._edge.new_line(self._peer)
        if head is not None:
            line.method = head.method.decode("ascii")
        self.transport.write(self._edge.refuse(refusal, line, head=head, keep_alive=False))
        line.write()
        self._close_behind_answer(whole=False)

    def _close_behind_answer(self, *, whole: bool) -> None:
        """Close such that the answer arrives.

        Closing a socket with unread data resets the connection and may destroy what is still on
        its way to the client; so unless the request came `whole`, read and discard for a moment.
        """
        if whole and not self._rest:
            self.close()
            return
        self._state = _State.LOST
        self._rest = b""
        self._deadline.set(self._limits.linger_seconds)
        self._resume()
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()

    def _gone(self) -> None:
        """The client closed, or its connection broke."""
        self._state = _State.LOST
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        if self._tunnel is not None:
            self._tunnel.close()

    def _touch(self) -> None:
        self._deadline.set(self._limits.tunnel_idle_seconds)

    def _expired(self) -> None:
        if self._state is _State.BODY and self._exchange is not None:
            self._exchange.abandon(refusals.REQUEST_TIMEOUT)
        elif self._state is _State.HEAD and self._begun:
            self._refuse(refusals.REQUEST_TIMEOUT, head=None)
        elif self._state is _State.TUNNEL or self._state is _State.HEAD:
            self.close()
        elif self._exchange is None or not self.writable or not self._exchange.answering:
            # It takes nothing, or went away without an answer, or does not end its half.
            self._gone()
            self.abort()
