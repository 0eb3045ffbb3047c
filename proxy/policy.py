"""Strict checks of message heads: what may pass, where its body ends, which host it is for. Pure.

A request that two servers could read differently is refused, not repaired: that is what request
smuggling lives on. Responses are held to the same framing rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from proxy import refusals
from proxy.framing import BadFraming, BodyReader, ChunkedBody, EndlessBody, LengthBody
from proxy.heads import RequestHead, ResponseHead
from proxy.limits import Limits
from proxy.refusals import Refused

Body = int | Literal["chunked"] | None
NOTHING: Final[frozenset[bytes]] = frozenset()

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})

_MAX_HOST = 253  # RFC 1035 names
_MAX_PORT = 65535
_LABEL = rb"[A-Za-z0-9_-]{1,63}"
_AUTHORITY = re.compile(
    rb"(?:(%b(?:\.%b)*)\.?|(\[[0-9A-Fa-f:.]{2,45}\]))(?::([0-9]{1,5}))?" % (_LABEL, _LABEL)
)
_LENGTH = re.compile(rb"0|[1-9][0-9]{0,17}")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?]*)(.*)")
_JUDGED = frozenset(
    {b"host", b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade"}
)


@dataclass(frozen=True, slots=True)
class Authority:
    """A Host field: the name to look up (lower case, no final dot) and the port, if named."""

    host: str
    port: int | None


@dataclass(slots=True)
class Demand:
    """A request that may pass.

    Attributes:
        authority: the Host field as sent; `host` is the name in it, for the routing table.
        target: in origin form (or `*`).
        body: its length, "chunked", or None when the request announces none.
        nominated: field names that its Connection field makes hop-by-hop.
        websocket: it asks for that protocol; other upgrades are ignored, as RFC 9110 allows.
        continues: it waits for `100 Continue` before it sends its body.
    """

    authority: bytes
    host: str
    port: int | None
    target: bytes
    body: Body
    keep_alive: bool
    websocket: bool
    continues: bool
    nominated: frozenset[bytes]

    def reader(self) -> BodyReader | None:
        """What finds the end of the body; None when there is nothing to read."""
        if self.body == "chunked":
            return ChunkedBody()
        return LengthBody(self.body) if self.body else None


@dataclass(slots=True)
class Reply:
    """A final response that may pass.

    Attributes:
        reader: finds the end of its body; None when it has none.
        length: the Content-Length to tell the client, if known.
        reusable: the connection may carry another exchange behind this one.
    """

    reader: BodyReader | None
    length: int | None
    reusable: bool
    nominated: frozenset[bytes]


def admit(head: RequestHead, limits: Limits) -> Demand:
    """What the request demands of us.

    Raises:
        Refused: it breaks a rule of RFC 9110 or 9112, or one of our limits.
    """
    if len(head.fields) > limits.head_fields:
        raise Refused(refusals.HEAD_TOO_LARGE)
    if head.method == b"CONNECT":
        raise Refused(refusals.CONNECT_REFUSED)
    said = _judged_fields(head)
    options = _tokens(said.get(b"connection"))
    body = _body(said, minor=head.minor)
    if isinstance(body, int) and body > limits.body_bytes:
        raise Refused(refusals.BODY_TOO_LARGE)
    named, target = _target(head, host=_host(said, minor=head.minor))
    authority = parse_authority(named) if named else Authority("", None)
    modern = head.minor == 1
    websocket = modern and _asks_for_websocket(head, said, options)
    if websocket and body:
        raise Refused(refusals.UPGRADE_WITH_BODY)
    return Demand(
        authority=named,
        host=authority.host,
        port=authority.port,
        target=target,
        body=body,
        keep_alive=b"close" not in options and (modern or b"keep-alive" in options),
        websocket=websocket,
        continues=modern and _expects_continue(said) and bool(body),
        nominated=options,
    )


def accept(head: ResponseHead, *, method: bytes) -> Reply:
    """What a final response to `method` brings.

    Raises:
        BadFraming: where its body ends is not certain.
    """
    lengths: list[bytes] = []
    encodings: list[bytes] = []
    for name, value in head.fields:
        if name == b"content-length":
            lengths.append(value)
        elif name == b"transfer-encoding":
            encodings.append(value)
    options = nominated(head)
    length = _response_length(lengths, encodings, minor=head.minor)
    reusable = head.minor == 1 and b"close" not in options
    if method == b"HEAD" or head.status in {204, 304}:
        told = None if head.status == 204 else length  # noqa: PLR2004 - RFC 9110 §8.6
        return Reply(None, told, reusable, options)
    if encodings:
        return Reply(ChunkedBody(), None, reusable, options)
    if length is None:
        return Reply(EndlessBody(), None, reusable=False, nominated=options)
    return Reply(LengthBody(length) if length else None, length, reusable, options)


def is_websocket_switch(head: ResponseHead) -> bool:
    """Whether a 101 is the answer to an upgrade to WebSocket, and nothing else."""
    upgrades = [value.lower() for name, value in head.fields if name == b"upgrade"]
    return upgrades == [b"websocket"] and b"upgrade" in nominated(head)


def nominated(head: ResponseHead) -> frozenset[bytes]:
    """What the Connection field says: options, and field names made hop-by-hop."""
    return _tokens([value for name, value in head.fields if name == b"connection"])


@lru_cache(maxsize=4096)
def parse_authority(value: bytes) -> Authority:
    """The parts of a Host field.

    Raises:
        Refused: it is not `host` or `host:port` with a name of letters, digits, - and _, or an
            address; user names, paths, lists and blanks are how hosts are confused.
    """
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        raise Refused(refusals.BAD_HOST)
    host = (match[1] or match[2]).decode("ascii").lower()
    port = None if match[3] is None else int(match[3])
    if len(host) > _MAX_HOST or (port is not None and port > _MAX_PORT):
        raise Refused(refusals.BAD_HOST)
    return Authority(host, port)


def _judged_fields(head: RequestHead) -> dict[bytes, list[bytes]]:
    said: dict[bytes, list[bytes]] = {}
    for name, value in head.fields:
        if name in _JUDGED:
            said.setdefault(name, []).append(value)
    return said


def _host(said: dict[bytes, list[bytes]], *, minor: int) -> bytes | None:
    """The one Host field; HTTP/1.0 may do without."""
    hosts = said.get(b"host", [])
    if len(hosts) == 1:
        parse_authority(hosts[0])
        return hosts[0]
    if hosts or minor == 1:
        raise Refused(refusals.BAD_HOST)
    return None


def _target(head: RequestHead, *, host: bytes | None) -> tuple[bytes, bytes]:
    """The authority that the request is for, and its target in origin form."""
    target = head.target
    if b"#" in target:
        raise Refused(refusals.BAD_TARGET)
    if target.startswith(b"/"):
        return host or b"", target
    if target == b"*":
        if head.method != b"OPTIONS":
            raise Refused(refusals.BAD_TARGET)
        return host or b"", target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise Refused(refusals.BAD_TARGET)
    authority, rest = match.groups()
    # RFC 9112 §3.2.2 lets the target win over Host; if they differ, someone is confused.
    if parse_authority(authority) != parse_authority(host if host is not None else authority):
        raise Refused(refusals.BAD_HOST)
    if not rest and head.method == b"OPTIONS":
        return authority, b"*"
    return authority, rest if rest.startswith(b"/") else b"/" + rest


def _body(said: dict[bytes, list[bytes]], *, minor: int) -> Body:
    lengths = said.get(b"content-length")
    encodings = said.get(b"transfer-encoding")
    if encodings:
        if lengths:
            raise Refused(refusals.AMBIGUOUS_LENGTH)
        if any(value.lower() != b"chunked" for value in encodings):
            raise Refused(refusals.UNKNOWN_ENCODING)
        if len(encodings) > 1 or minor == 0:
            raise Refused(refusals.BAD_ENCODING)
        return "chunked"
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise Refused(refusals.BAD_LENGTH)
    return int(lengths[0])


def _response_length(lengths: list[bytes], encodings: list[bytes], *, minor: int) -> int | None:
    if encodings:
        if lengths or minor == 0 or [value.lower() for value in encodings] != [b"chunked"]:
            raise BadFraming("Transfer-Encoding is not exactly chunked, or not alone")
        return None
    if not lengths:
        return None
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadFraming("Content-Length is not one number")
    return int(lengths[0])


def _expects_continue(said: dict[bytes, list[bytes]]) -> bool:
    expectations = said.get(b"expect")
    if not expectations:
        return False
    if [value.lower() for value in expectations] != [b"100-continue"]:
        raise Refused(refusals.BAD_EXPECTATION)
    return True


def _asks_for_websocket(
    head: RequestHead, said: dict[bytes, list[bytes]], options: frozenset[bytes]
) -> bool:
    return (
        head.method == b"GET"
        and b"upgrade" in options
        and [value.lower() for value in said.get(b"upgrade", [])] == [b"websocket"]
    )


def _tokens(values: list[bytes] | None) -> frozenset[bytes]:
    if not values:
        return NOTHING
    return frozenset(_split(values))


def _split(values: list[bytes]) -> Iterator[bytes]:
    for value in values:
        for token in value.lower().split(b","):
            stripped = token.strip(b" \t")
            if stripped:
                yield stripped
