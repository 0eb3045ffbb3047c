"""Pushes, already verified and normalised; the raw body stays in the delivery's row."""

from __future__ import annotations

from events.event import Event


class PushReceived(Event, type="push.received"):
    """A signed push webhook was stored.

    `ref` is the full reference (`refs/heads/main`); `after` is the commit to deploy.
    """

    delivery_id: str
    github_repo: str
    github_installation_id: int | None
    ref: str
    after: str
    deleted: bool
    clone_url: str
    commit_message: str
    pusher: str
