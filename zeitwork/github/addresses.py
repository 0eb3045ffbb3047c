"""Where repositories are on GitHub, on github.com or on a GitHub of one's own; pure."""

from __future__ import annotations


def clone_url(web_url: str, repository: str) -> str:
    """The address to clone `owner/name` from; `web_url` is that of the settings."""
    return f"{page(web_url, repository)}.git"


def renamed(address: str, before: str, after: str) -> str:
    """The clone address of what is called `after` now, if it was that of `before`."""
    root, found = address[: -len(f"/{before}.git")], address.lower()
    return clone_url(root, after) if found.endswith(f"/{before.lower()}.git") else address


def page(web_url: str, repository: str) -> str:
    """The repository's page for people."""
    return f"{web_url.rstrip('/')}/{repository}"
