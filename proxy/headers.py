"""Heads as we send them on, written anew from parsed fields. Pure.

Hop-by-hop fields go first: the fixed list and what Connection names, except fields that carry
the request's meaning or that only the edge may set (CVE-2021-32813, CVE-2024-45410: clients named
X-Forwarded-* in Connection and so removed them). Then ours are added. Inbound forwarding fields
are never believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from proxy import policy
from proxy.heads import Fields, RequestHead, ResponseHead
from proxy.policy import Demand, Reply

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_VIA = b"1.1 zeitwork"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_WRITTEN_ANEW = frozenset(
    {
        b"content-length",
        b"expect",
        b"forwarded",
        b"host",
        b"traceparent",
        b"tracestate",
        b"via",
        b"x-real-ip",
        b"x-request-id",
    }
)
# CGI shows a field `Proxy` to programs as HTTP_PROXY (CVE-2016-5385).
_REQUEST_DROPPED = _HOP_BY_HOP | _WRITTEN_ANEW | {b"proxy"}
_RESPONSE_DROPPED = _HOP_BY_HOP | {b"content-length", b"via", b"x-request-id", b"x-zeitwork-error"}
_NOT_NOMINABLE = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"location",
        b"range",
        b"set-cookie",
    }
)
_TRACEPARENT = re.compile(rb"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Trace:
    """The W3C trace context that the instance gets: a child of the client's, or a new trace."""

    trace_id: str
    traceparent: bytes
    tracestate: bytes | None


def trace_of(fields: Fields, *, trace_id: int, span_id: int) -> Trace:
    """Continue the client's trace if it sent exactly one usable `traceparent`, else begin one.

    Args:
        trace_id, span_id: fresh random numbers; the span stands for our part of the way.
    """
    parents = [value for name, value in fields if name == b"traceparent"]
    match = _TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if match is None:
        # Flag 01: without a parent the application would sample; our id must not keep it from it.
        trace = f"{trace_id:032x}"
        return Trace(trace, b"00-%b-%016x-01" % (trace.encode(), span_id), None)
    trace_bytes, flags = match.groups()
    states = [value for name, value in fields if name == b"tracestate"]
    return Trace(
        trace_bytes.decode("ascii"),
        b"00-%b-%016x-%b" % (trace_bytes, span_id, flags),
        b",".join(states) if states else None,
    )


def request(
    head: RequestHead, demand: Demand, *, peer: str, scheme: str, request_id: str, trace: Trace
) -> bytes:
    """The head to send to the instance.

    Args:
        peer: the visitor's address; `scheme` is what the visitor used.
    """
    parts = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (head.method, demand.target, demand.authority)]
    via = b""
    nominated = demand.nominated
    for name, value in head.fields:
        if name in _REQUEST_DROPPED:
            if name == b"via":
                via += value + b", "
            continue
        # CGI-style applications read `x_forwarded_for` as `x-forwarded-for`.
        if b"_" in name or name.startswith((b"x-forwarded-", b"x-zeitwork-")):
            continue
        if name in nominated and name not in _NOT_NOMINABLE:
            continue
        parts.append(b"%b: %b\r\n" % (name, value))
    if demand.body == "chunked":
        parts.append(b"transfer-encoding: chunked\r\n")
    elif demand.body is not None:
        parts.append(b"content-length: %d\r\n" % demand.body)
    if demand.websocket:
        parts.append(b"connection: upgrade\r\nupgrade: websocket\r\n")
    parts.append(_forwarding(demand, peer=peer, scheme=scheme))
    if trace.tracestate is not None:
        parts.append(b"tracestate: %b\r\n" % trace.tracestate)
    parts.append(
        b"via: %b%b\r\nx-request-id: %b\r\ntraceparent: %b\r\n\r\n"
        % (via, _VIA, request_id.encode(), trace.traceparent)
    )
    return b"".join(parts)


def response(
    head: ResponseHead, reply: Reply, *, framing: bytes, request_id: str, date: bytes
) -> bytes:
    """The head to send to the client.

    Args:
        framing: the field lines that say where the body and the connection end.
        date: used when the instance sent none.
    """
    parts = [_status_line(head)]
    dated = _copy_fields(head, reply.nominated, parts)
    if not dated:
        parts.append(b"date: %b\r\n" % date)
    parts.append(b"%bx-request-id: %b\r\n\r\n" % (framing, request_id.encode()))
    return b"".join(parts)


def informational(head: ResponseHead) -> bytes:
    """A 1xx response to pass on; it has no body and ends nothing."""
    parts = [_status_line(head)]
    _copy_fields(head, policy.nominated(head), parts)
    parts.append(b"\r\n")
    return b"".join(parts)


def switching(head: ResponseHead, *, request_id: str) -> bytes:
    """The 101 that opens a WebSocket."""
    parts = [_status_line(head)]
    _copy_fields(head, policy.nominated(head), parts)
    parts.append(
        b"connection: upgrade\r\nupgrade: websocket\r\nx-request-id: %b\r\n\r\n"
        % request_id.encode()
    )
    return b"".join(parts)


def connection(minor: int, *, keep_alive: bool) -> bytes:
    """The field line that says what becomes of the client's connection, where it must be said."""
    if not keep_alive:
        return b"connection: close\r\n"
    return b"" if minor else b"connection: keep-alive\r\n"


def address_of(peername: tuple[str, int] | None) -> str:
    """A peer's address without zone, and IPv4 in its own notation."""
    if not peername:
        return "unknown"
    return peername[0].partition("%")[0].removeprefix("::ffff:")


def _status_line(head: ResponseHead) -> bytes:
    return b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)


def _copy_fields(head: ResponseHead, nominated: frozenset[bytes], parts: list[bytes]) -> bool:
    """Append the end-to-end fields and Via; whether Date was among them."""
    dated = False
    via = b""
    for name, value in head.fields:
        if name in _RESPONSE_DROPPED:
            if name == b"via":
                via += value + b", "
            continue
        if name in nominated and name not in _NOT_NOMINABLE:
            continue
        if name == b"date":
            dated = True
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"via: %b%b\r\n" % (via, _VIA))
    return dated


def _forwarding(demand: Demand, *, peer: str, scheme: str) -> bytes:
    port = demand.port or _DEFAULT_PORTS.get(scheme, 80)
    node = f'"[{peer}]"' if ":" in peer else peer
    authority = demand.authority.decode("ascii")
    return (
        f"x-forwarded-for: {peer}\r\nx-forwarded-proto: {scheme}\r\n"
        f"x-forwarded-host: {authority}\r\nx-forwarded-port: {port}\r\n"
        f'forwarded: for={node};host="{authority}";proto={scheme}\r\n'
    ).encode("ascii")
