"""Names of previews that are DNS labels; pure.

A label has at most 63 letters, digits and hyphens (RFC 1123), and a certificate for `*.base` covers
one label only, so project and preview share it.
"""

from __future__ import annotations

import hashlib
import re

_MOST = 63
_HASH = 8
_OTHER = re.compile(r"[^a-z0-9]+")


def environment_name(*, pull_number: int | None, branch: str) -> str:
    """The name of a preview's environment, unique in its project."""
    if pull_number is not None:
        return f"pr-{pull_number}"
    plain = _plain(branch)
    return plain if plain == branch and _fits("branch", plain) else _hashed("branch", plain, branch)


def preview_labels(slug: str, name: str, *, key: str) -> tuple[str, str]:
    """A label that people can guess, and one to fall back on, which nobody else's can be.

    Args:
        key: what only this preview has.
    """
    readable = f"{slug}-{name}"
    hashed = _hashed(slug, name, key)
    return (readable if len(readable) <= _MOST else hashed), hashed


def commit_label(slug: str, commit_sha: str, *, key: str) -> str:
    """The label of one commit in one preview."""
    return _hashed(slug, commit_sha[:_HASH], f"{key} {commit_sha}")


def _plain(text: str) -> str:
    return _OTHER.sub("-", text.lower()).strip("-")


def _fits(*parts: str) -> bool:
    return len("-".join(parts)) <= _MOST and all(parts)


def _hashed(start: str, rest: str, key: str) -> str:
    """Both parts, cut where they are too long, and a hash of the key."""
    digest = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_HASH]
    rest = rest[: _MOST // 2].strip("-")
    room = _MOST - len(digest) - len(rest) - 2
    return "-".join(part for part in (start[:room].strip("-"), rest, digest) if part)
