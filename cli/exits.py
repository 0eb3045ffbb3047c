"""Exit codes that scripts can rely on, and how errors become them."""

from __future__ import annotations

from enum import IntEnum

from cli.client import ApiProblem
from zeitwork.errors import ZeitworkError


class Exit(IntEnum):
    """What the process returns; docs/reference/cli.md explains each."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAUTHENTICATED = 4
    CONFLICT = 5
    DEPLOYMENT_FAILED = 6
    TIMED_OUT = 7
    UNAVAILABLE = 8
    INTERRUPTED = 130
    PIPE_CLOSED = 141


_BY_STATUS = {
    400: Exit.USAGE,
    401: Exit.UNAUTHENTICATED,
    403: Exit.UNAUTHENTICATED,
    404: Exit.NOT_FOUND,
    408: Exit.TIMED_OUT,
    409: Exit.CONFLICT,
    413: Exit.USAGE,
    422: Exit.DEPLOYMENT_FAILED,
    429: Exit.UNAVAILABLE,
    502: Exit.UNAVAILABLE,
    503: Exit.UNAVAILABLE,
    504: Exit.TIMED_OUT,
}


def of(error: ApiProblem | ZeitworkError) -> Exit:
    """The exit code of an error."""
    return _BY_STATUS.get(error.status, Exit.UNEXPECTED)
