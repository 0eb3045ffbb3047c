"""The constrained types of API fields and settings: lengths and forms in one place."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from zeitwork import clock

_AGO = re.compile(r"([0-9]{1,5})(s|m|h|d)")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Body(BaseModel):
    """A request body or query: unknown fields are refused, types are not guessed."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _relative(path: str) -> str:
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError("must be a path inside the repository")
    return path.strip("/").removeprefix("./")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _moment(said: object) -> object:
    """`10m` is ten minutes ago (s, m, h, d); anything else is left to pydantic."""
    ago = _AGO.fullmatch(said) if isinstance(said, str) else None
    if ago is None:
        return said
    return clock.now() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        return moment.replace(tzinfo=UTC)
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is outside of the calendar") from error


# A time in ISO form (UTC without an offset), or how long ago.
Moment = Annotated[datetime, BeforeValidator(_moment), AfterValidator(_in_utc)]
Slug = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$", max_length=63)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
GitHubRepo = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}$")
]
CommitSha = Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")]
Branch = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/@+-]*$", max_length=255),
]
# What `consumers/globs.py` understands: * and ? within a part, ** for any number of parts.
BranchRule = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_*?][A-Za-z0-9._/@+*?-]*$", max_length=255),
]
Glob = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\\]"),
    AfterValidator(_printable),
]
Globs = Annotated[list[Glob], Field(max_length=50)]
# A branch, a tag, a full reference or a full commit SHA.
GitReference = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._/@+#-]*$", max_length=255),
]
GitUrl = Annotated[
    str,
    StringConstraints(
        pattern=r"^(?:https?://|ssh://|git://|file:///|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:)\S+$",
        max_length=2000,
    ),
]
RelativePath = Annotated[
    str, StringConstraints(max_length=1024), AfterValidator(_printable), AfterValidator(_relative)
]
HttpPath = Annotated[str, StringConstraints(pattern=r"^/[!-~]*$", max_length=1024)]
VariableName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128)
]
PageSize = Annotated[int, Field(ge=1, le=500)]
