"""Where repositories are on GitHub, on github.com or on a GitHub of one's own; pure."""

from __future__ import annotations


def clone_url(web_url: str, repository: str) -> str:
    """The address to clone `owner/name` from; `web_url` is that of the settings."""
    return f"{page(web_url, repository)}.git"


def page(web_url: str, repository: str) -> str:
    """The repository's page for people."""
    return f"{web_url.rstrip('/')}/{repository}"
