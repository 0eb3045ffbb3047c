"""Lists come in pages: `{"items": […], "next": cursor or null}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from pydantic import BaseModel

_Item = TypeVar("_Item", bound=BaseModel)


class Page(BaseModel, Generic[_Item]):
    """`next` goes into the query of the next call; null at the end."""

    items: list[_Item]
    next: str | None


def page(items: Sequence[_Item], *, limit: int, cursor: str | None) -> Page[_Item]:
    """A page; a full one may have a successor that starts behind `cursor`."""
    return Page(items=list(items), next=cursor if len(items) >= limit else None)
