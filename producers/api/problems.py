"""Every error as one RFC 9457 problem with a stable code; unknown faults show an id, no detail."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from zeitwork import tracing
from zeitwork.errors import InvalidInput, Unavailable, ZeitworkError

CONTENT_TYPE = "application/problem+json"


class InvalidFields(InvalidInput):
    """Some fields are missing, unknown or of the wrong form."""

    code = "invalid_fields"

    def __init__(self, message: str, errors: list[dict[str, str]]) -> None:
        super().__init__(message)
        self.errors = errors

    @classmethod
    def of(cls, error: ValidationError, *, within: str | None = None) -> InvalidFields:
        """Each fault with a JSON pointer to its field; `within` is the field they all lie in."""
        outside = () if within is None else (within,)
        errors = [
            {
                "pointer": _pointer((*outside, *item["loc"])),
                "code": item["type"],
                "message": item["msg"],
            }
            for item in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        named = ", ".join(item["pointer"] or "the whole" for item in errors)
        return cls(f"These fields cannot be used: {named}.", errors)


def response(error: Exception) -> web.Response:
    """The problem for an error."""
    known = error if isinstance(error, ZeitworkError) else ZeitworkError("")
    document: dict[str, Any] = {
        "type": f"urn:zeitwork:error:{known.code}",
        "title": _title(type(known)) if known is error else "Something went wrong on our side.",
        "status": known.status,
        "code": known.code,
        "category": str(known.category),
        "retryable": known.retryable,
        "trace_id": tracing.current_trace_id(),
    }
    if known is error:
        document["detail"] = known.message
    else:
        document["detail"] = "The operator finds it in the log by its trace id."
    if isinstance(known, InvalidFields):
        document["errors"] = known.errors
    answer = web.Response(status=known.status, text=json.dumps(document), content_type=CONTENT_TYPE)
    if known.status == web.HTTPUnauthorized.status_code:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(known, Unavailable):
        answer.headers["Retry-After"] = str(known.retry_after_seconds)
    return answer


def _pointer(location: tuple[int | str, ...]) -> str:
    """RFC 6901; empty for the whole document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)


def _title(kind: type[ZeitworkError]) -> str:
    return (kind.__doc__ or kind.__name__).strip().split("\n", 1)[0]
