"""Addresses of repositories as they may be shown and told: without credentials."""

from __future__ import annotations


def without_credentials(clone_url: str) -> str:
    """The address without user and password; the user of an ssh address is no secret."""
    scheme, separator, rest = clone_url.partition("://")
    if scheme not in {"http", "https"}:
        return clone_url
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}"
