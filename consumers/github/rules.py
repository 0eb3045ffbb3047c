"""Which push deploys what; pure."""

from __future__ import annotations

from dataclasses import dataclass

_BRANCH = "refs/heads/"


@dataclass(frozen=True, slots=True)
class Push:
    """The part of a push that the rules look at; `ref` is the full reference."""

    ref: str
    deleted: bool


def why_not(push: Push, *, branch: str) -> str | None:
    """None when the push deploys an environment that follows `branch`, else the reason."""
    if push.deleted:
        return "the push deletes its branch"
    if not push.ref.startswith(_BRANCH):
        return f"{push.ref} is not a branch"
    pushed = push.ref.removeprefix(_BRANCH)
    if pushed != branch:
        return f"branch {pushed} is not deployed (the environment follows {branch})"
    return None
