"""The edge's own answers as bytes: a small HTML page, or an RFC 9457 problem, by Accept. Pure.

They say what happened and the request id, and nothing of the host asked for or of our insides.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Final

from proxy.refusals import Refusal

_HTML: Final = "text/html"
_JSON: Final = ("application/problem+json", "application/json")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{status} {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1rem/1.5 system-ui, sans-serif; background: Canvas; color: CanvasText; }}
main {{ max-width: 34rem; padding: 2rem; }}
p {{ margin: .5rem 0; }}
h1 {{ margin: 0; font-size: 1.5rem; }}
.status {{ font-size: .875rem; letter-spacing: .08em; opacity: .65; }}
.id {{ margin-top: 2rem; font: .75rem ui-monospace, monospace; opacity: .65; }}
</style>
</head>
<body>
<main>
<p class="status">{status}</p>
<h1>{title}</h1>
<p>{detail}</p>
<p class="id">{code} · {request_id}</p>
</main>
</body>
</html>
"""
_FIELDS = (
    "HTTP/1.1 {status} {phrase}\r\n"
    "date: {date}\r\n"
    "content-type: {content_type}\r\n"
    "content-length: {length}\r\n"
    "cache-control: no-store\r\n"
    "content-security-policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
    "x-content-type-options: nosniff\r\n"
    "x-request-id: {request_id}\r\n"
    "x-zeitwork-error: {code}\r\n"
)


def render(
    refusal: Refusal,
    *,
    accept: bytes | None,
    request_id: str,
    date: bytes,
    connection: bytes,
    with_body: bool,
) -> bytes:
    """The whole response.

    Args:
        accept: the client's Accept field.
        connection: the field line that says what becomes of the connection; may be empty.
        with_body: unset for HEAD, which gets the same head.
    """
    if _prefers_json(accept):
        content_type, body = _JSON[0], _problem(refusal, request_id)
    else:
        content_type, body = f"{_HTML}; charset=utf-8", _page(refusal, request_id)
    head = _FIELDS.format(
        status=refusal.status,
        phrase=HTTPStatus(refusal.status).phrase,
        date=date.decode("ascii"),
        content_type=content_type,
        length=len(body),
        request_id=request_id,
        code=refusal.code,
    )
    if refusal.retry_after is not None:
        head += f"retry-after: {refusal.retry_after}\r\n"
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        head += "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"
    return b"%b%b\r\n%b" % (head.encode("ascii"), connection, body if with_body else b"")


def _page(refusal: Refusal, request_id: str) -> bytes:
    return _PAGE.format(
        status=refusal.status,
        title=refusal.title,
        detail=refusal.detail,
        code=refusal.code,
        request_id=request_id,
    ).encode()


def _problem(refusal: Refusal, request_id: str) -> bytes:
    problem = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "category": refusal.category,
        "request_id": request_id,
    }
    return json.dumps(problem).encode() + b"\n"


def _prefers_json(accept: bytes | None) -> bool:
    """Whether the client asks for JSON by name, and not rather for HTML; wildcards get HTML."""
    html = json_ = 0.0
    for item in (accept or b"").decode("latin-1").lower().split(","):
        media, *parameters = [part.strip() for part in item.split(";")]
        if media == _HTML:
            html = max(html, _quality(parameters))
        elif media in _JSON:
            json_ = max(json_, _quality(parameters))
    return json_ > html


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
