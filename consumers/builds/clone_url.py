"""Addresses that a repository may be cloned from, and the credentials in them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlsplit

from zeitwork.errors import SourceUnavailable

PROTOCOLS = "file:https:http:ssh:git"
_SCHEMES = frozenset(PROTOCOLS.split(":"))
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
# The short form of ssh: git@github.com:owner/name.git
_SHORT = re.compile(rf"(?P<user>{_USER.pattern})@(?P<host>{_HOST.pattern}):(?P<path>[^:-].*)")
# No address needs a quote or a backslash, and in git's files they would end a value.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\"\\]|%0[0ad]", re.IGNORECASE)
_MOST_CHARACTERS = 2048


@dataclass(frozen=True, slots=True)
class Remote:
    """Where to fetch from.

    Attributes:
        address: without credentials; may be shown.
        login: the same with its user and password, as git's credential store takes it; None when
            there were none.
    """

    address: str
    login: str | None = field(default=None, repr=False)


def parse(clone_url: str) -> Remote:
    """Check an address and take its credentials out.

    Raises:
        SourceUnavailable: it is not an address that is cloned from; the message says what is.
    """
    if len(clone_url) > _MOST_CHARACTERS or _FORBIDDEN.search(clone_url):
        raise SourceUnavailable(
            "The clone address is too long or holds blanks, quotes or control codes."
        )
    if _SHORT.fullmatch(clone_url):
        return Remote(clone_url)
    try:
        parts = urlsplit(clone_url)
        port = parts.port
    except ValueError as error:
        raise _refused(clone_url) from error
    if parts.scheme not in _SCHEMES or not clone_url.startswith(f"{parts.scheme}://"):
        raise _refused(clone_url)
    if parts.scheme == "file":
        if parts.netloc or not parts.path.startswith("/"):
            raise _refused(clone_url)
        return Remote(clone_url)
    host = parts.netloc.rpartition("@")[2].removesuffix(f":{port}")
    if not _HOST.fullmatch(host) or not parts.path.strip("/"):
        raise _refused(clone_url)
    return _without_credentials(parts)


def _without_credentials(parts: SplitResult) -> Remote:
    credentials, _, host = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    if parts.scheme == "ssh" and user:
        if not _USER.fullmatch(user):
            raise _refused(parts.geturl())
        return Remote(parts._replace(netloc=f"{user}@{host}").geturl())
    address = parts._replace(netloc=host).geturl()
    if not credentials or parts.scheme not in {"http", "https"}:
        return Remote(address)
    safe = f"{quote(unquote(user), safe='')}:{quote(unquote(password), safe='')}"
    return Remote(address, f"{parts.scheme}://{safe}@{host}{parts.path}")


def _refused(clone_url: str) -> SourceUnavailable:
    # What is no address has no known place for its password: nothing before an "@" is shown.
    rest = clone_url.rpartition("@")[2]
    return SourceUnavailable(
        f"{rest[:200]!r} is not an address to clone from: use https://, ssh://, "
        "git@host:path, http://, git:// or file:///."
    )
