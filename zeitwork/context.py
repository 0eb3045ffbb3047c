"""Who and what the current work is for: bound once, read by logs, events and problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Context:
    """The thread of causes that the current work belongs to; ids in text form."""

    correlation_id: str | None = None
    causation_id: str | None = None
    actor: str = "system"
    organisation_id: str | None = None
    project_id: str | None = None


_current: ContextVar[Context] = ContextVar("zeitwork_context", default=Context())  # noqa: B039 - frozen


def current() -> Context:
    return _current.get()


@contextmanager
def bind(**changes: Any) -> Iterator[Context]:
    """Change fields of the context for a block; log lines inside carry them too."""
    bound = replace(_current.get(), **changes)
    token = _current.set(bound)
    try:
        yield bound
    finally:
        _current.reset(token)
