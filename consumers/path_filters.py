"""Whether a change concerns a project: its root directory and the globs of its paths. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from consumers import globs


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a repository a project is made of; see `db.models.projects.Project`."""

    root_directory: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    preview_branches: Sequence[str] = ()

    @property
    def any(self) -> bool:
        """Whether there are changes that do not concern the project."""
        return bool(included(self) or self.exclude)


def why_unchanged(files: Sequence[str] | None, filters: Filters) -> str | None:
    """The reason when none of the changed files belongs to the project.

    Files that are not known may be anything.
    """
    if not files or not filters.any:
        return None
    include = included(filters)
    left = [file for file in files if not globs.any_matches(filters.exclude, file)]
    if not left:
        return f"all {len(files)} changed files match the excluded paths"
    if include and not any(globs.any_matches(include, file) for file in left):
        return f"none of the {len(files)} changed files matches {', '.join(include)}"
    return None


def included(filters: Filters) -> tuple[str, ...]:
    """The globs that count; a root directory is one unless others are given."""
    if filters.include:
        return tuple(filters.include)
    root = filters.root_directory.strip("/")
    return (f"{root}/**",) if root else ()
