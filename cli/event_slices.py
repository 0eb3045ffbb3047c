"""Slices of the log, read page by page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import output
from cli.client import Client

_PAGE = 500


async def event_slice(
    client: Client, query: Mapping[str, str | int | None], *, most: int | None = None
) -> tuple[list[dict[str, Any]], bool]:
    """The first `most` events (else all) that fit the query, and whether there are others.

    Whoever waits for more than one page sees how far it is.
    """
    page = await client.get("/events", **query, limit=_size(most, 0))
    found: list[dict[str, Any]] = page["items"]
    if not _goes_on(page, found, most):
        return found, page["next"] is not None
    with output.progress("Reading the log …") as progress:
        while _goes_on(page, found, most):
            if output.notes.is_terminal:
                progress.update(f"Reading the log … {len(found)} events")
            limit = _size(most, len(found))
            page = await client.get("/events", **{**query, "after": page["next"], "limit": limit})
            found += page["items"]
    return found, page["next"] is not None


def _goes_on(page: Mapping[str, Any], found: list[dict[str, Any]], most: int | None) -> bool:
    return page["next"] is not None and (most is None or len(found) < most)


def _size(most: int | None, found: int) -> int:
    return _PAGE if most is None else min(_PAGE, most - found)
