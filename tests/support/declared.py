"""Event types of a test's own, and the program before and after an upgrade in one process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from events import event as module
from events.event import REGISTRY


@pytest.fixture
def own_event_types() -> Iterator[None]:
    """Forget the types and upcasters that a test declares."""
    tables: list[dict[Any, Any]] = [REGISTRY, module._UPCASTERS]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def forget(type_: str) -> None:
    """Let `type_` be declared again, as the next version of the program does."""
    REGISTRY.pop(type_, None)
