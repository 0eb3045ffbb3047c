"""What GitHub knows of the webhooks that it sent, and the wish to get one again.

https://docs.github.com/en/rest/apps/webhooks
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

from zeitwork.github import answers
from zeitwork.github.answers import HookDelivery
from zeitwork.github.app import GitHubApp

_DELIVERIES = "/app/hook/deliveries"


async def page(app: GitHubApp, *, cursor: str | None) -> tuple[Sequence[HookDelivery], str | None]:
    """Attempts, newest first, and the cursor of the page behind it, if there is one."""
    query = {"per_page": "100"}
    if cursor is not None:
        query["cursor"] = cursor
    reply = await app.as_app("GET", _DELIVERIES, query=query)
    found = answers.every(HookDelivery, reply.content)
    if reply.next_page is None:
        return found, None
    following = parse_qs(urlsplit(reply.next_page).query).get("cursor", [])
    return found, following[0] if following else None


async def ask_again(app: GitHubApp, delivery_id: int) -> None:
    """Ask for another attempt; GitHub makes it a moment later, with the same guid."""
    await app.as_app("POST", f"{_DELIVERIES}/{delivery_id}/attempts")
