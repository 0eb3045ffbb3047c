"""The constrained types of API fields and settings: lengths and forms in one place."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


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
PageSize = Annotated[int, Field(ge=1, le=500)]
