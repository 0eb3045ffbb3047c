"""What happens round every API call, outermost first: trace and context, errors, authentication."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion11, web

from producers.api import problems
from producers.api.authenticate import authenticate
from producers.api.call import Call, Deps, Endpoint
from zeitwork import clock, context, ids, logs, metrics, tracing
from zeitwork.errors import MethodNotAllowed, NotFound, ZeitworkError

_log = logs.get(__name__)
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def bound(endpoint: Endpoint, deps: Deps) -> Handler:
    """The aiohttp handler of an endpoint."""

    async def handle(request: web.Request) -> web.StreamResponse:
        actor = authenticate(request, endpoint.access, deps.settings)
        if endpoint.takes_in:
            deps.outbox.admit()
        with context.bind(actor=actor):
            return await endpoint.handle(Call(request, endpoint, deps))

    return handle


async def expected(request: web.Request) -> None:
    """Ask for the body of a caller that waits to be asked; other expectations may be ignored.

    aiohttp's own handler answers those with plain text. RFC 9110, section 10.1.1.
    """
    if (
        request.headers.get("Expect", "").lower() == "100-continue"
        and request.version >= HttpVersion11
    ):
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


@web.middleware
async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Continue the caller's trace, give the call an id, count and time it."""
    route = request.match_info.route.resource
    template = route.canonical if route is not None else "unmatched"
    started = clock.monotonic()
    correlation = ids.new(ids.Prefix.EVENT)
    with (
        tracing.continued(
            request.headers, f"{request.method} {template}", kind=tracing.SpanKind.SERVER
        ),
        context.bind(correlation_id=correlation),
    ):
        answer = await handler(request)
    if not answer.prepared:
        answer.headers["X-Request-Id"] = correlation
    seconds = clock.monotonic() - started
    method = request.method if request.method in _METHODS else "other"
    metrics.API_REQUESTS.labels(method, template, str(answer.status)).observe(seconds)
    return answer


@web.middleware
async def problem(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document; an answer that has begun is cut instead."""
    try:
        return await handler(request)
    except ZeitworkError as error:
        if error.status >= web.HTTPInternalServerError.status_code:
            _log.warning("call failed", code=error.code, detail=error.message, path=request.path)
        return _answer(request, error)
    except web.HTTPNotFound:
        return problems.response(NotFound(f"There is no {request.path} here."))
    except web.HTTPMethodNotAllowed as error:
        allowed = ", ".join(sorted(error.allowed_methods))
        answer = problems.response(MethodNotAllowed(f"{request.path} takes {allowed}."))
        answer.headers["Allow"] = allowed
        return answer
    except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
        raise
    except Exception as error:
        _log.exception("call crashed", path=request.path)
        return _answer(request, error)


def _answer(request: web.Request, error: Exception) -> web.Response:
    if request.writer.output_size > 0:
        # A second head inside the body would pass for content; a cut is noticed.
        raise ConnectionResetError("the answer had begun") from error
    return problems.response(error)


ORDER = (traced, problem)
