"""Every answer that the edge gives itself: status, stable code, and what it says to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from zeitwork.errors import Category, ZeitworkError


@dataclass(frozen=True, slots=True)
class Refusal:
    """One way not to get an answer from an application.

    Attributes:
        closes: the connection cannot be used further, because its framing is lost or doubtful.
        retry_after: seconds, when trying again may help.
    """

    status: int
    code: str
    title: str
    detail: str
    category: Category = Category.CALLER
    closes: bool = False
    retry_after: int | None = None


def table() -> list[Refusal]:
    """All of them, by status and code; docs/reference/edge-refusals.md shows the same."""
    found = [each for each in globals().values() if isinstance(each, Refusal)]
    return sorted(found, key=lambda each: (each.status, each.code))


class Refused(ZeitworkError):
    """The request may not pass; `refusal` is the answer to it."""

    code = "refused"
    status = 400
    category = Category.CALLER

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


def _caller(status: int, code: str, title: str, detail: str) -> Refusal:
    return Refusal(status, code, title, detail, closes=True)


def _application(status: int, code: str, title: str, detail: str) -> Refusal:
    return Refusal(status, code, title, detail, category=Category.APPLICATION)


_BAD = "Bad request"

BAD_REQUEST_LINE: Final = _caller(400, "bad_request_line", _BAD, "The request line is not HTTP.")
BAD_FIELDS: Final = _caller(400, "bad_header_fields", _BAD, "The header fields are not HTTP.")
BAD_TARGET: Final = _caller(400, "bad_target", _BAD, "The address in the request is not valid.")
BAD_HOST: Final = _caller(
    400, "bad_host", _BAD, "The request must name exactly one valid host in its Host field."
)
BAD_LENGTH: Final = _caller(400, "bad_content_length", _BAD, "Content-Length is not one number.")
BAD_ENCODING: Final = _caller(
    400, "bad_transfer_encoding", _BAD, "Transfer-Encoding is repeated or not allowed here."
)
AMBIGUOUS_LENGTH: Final = _caller(
    400, "ambiguous_length", _BAD, "Content-Length and Transfer-Encoding contradict each other."
)
BAD_BODY: Final = _caller(400, "bad_body_framing", _BAD, "The body is not framed as announced.")
UPGRADE_WITH_BODY: Final = _caller(
    400, "upgrade_with_body", _BAD, "A request for another protocol cannot have a body."
)
CONNECT_REFUSED: Final = _caller(
    405, "connect_not_allowed", "Method not allowed", "This is not a forward proxy."
)
REQUEST_TIMEOUT: Final = _caller(
    408, "request_timeout", "Request timeout", "The request took too long to arrive."
)
BODY_TOO_LARGE: Final = _caller(
    413, "body_too_large", "Body too large", "The body is larger than this site takes."
)
TARGET_TOO_LONG: Final = _caller(
    414, "target_too_long", "Address too long", "The address in the request is too long."
)
BAD_EXPECTATION: Final = _caller(
    417, "bad_expectation", "Expectation failed", "The only known expectation is 100-continue."
)
RATE_LIMITED: Final = Refusal(
    429, "rate_limited", "Too many requests", "Please wait a moment and try again.", retry_after=1
)
HEAD_TOO_LARGE: Final = _caller(
    431, "head_too_large", "Header fields too large", "The header fields are too large or too many."
)
UNKNOWN_METHOD: Final = _caller(
    501, "unknown_method", "Not implemented", "The request method is not known here."
)
UNKNOWN_ENCODING: Final = _caller(
    501, "unknown_transfer_encoding", "Not implemented", "The only transfer coding is chunked."
)
UNKNOWN_VERSION: Final = _caller(
    505, "unknown_version", "Version not supported", "This server speaks HTTP/1.1 and HTTP/1.0."
)

UNKNOWN_HOST: Final = Refusal(
    404, "unknown_host", "There is nothing here", "No project answers at this address."
)
NO_INSTANCE: Final = Refusal(
    503,
    "no_instance",
    "Not running",
    "This project has no running instance at the moment. Please try again shortly.",
    category=Category.APPLICATION,
    retry_after=5,
)
BUSY: Final = Refusal(
    503,
    "instances_busy",
    "Too busy",
    "This project has as many requests in hand as it can take. Please try again shortly.",
    category=Category.APPLICATION,
    retry_after=1,
)
NO_ROUTES: Final = Refusal(
    503,
    "edge_starting",
    "Starting",
    "This server does not know its projects yet. Please try again shortly.",
    category=Category.PLATFORM,
    retry_after=2,
)
UNREACHABLE: Final = _application(
    502, "instance_unreachable", "Bad gateway", "The application could not be reached."
)
CLOSED: Final = _application(
    502, "instance_closed", "Bad gateway", "The application closed the connection unanswered."
)
MALFORMED: Final = _application(
    502, "instance_malformed", "Bad gateway", "The application's answer is not valid HTTP."
)
CONNECT_TIMEOUT: Final = _application(
    504, "instance_connect_timeout", "Gateway timeout", "The application could not be reached."
)
TIMEOUT: Final = _application(
    504, "instance_timeout", "Gateway timeout", "The application took too long to answer."
)
