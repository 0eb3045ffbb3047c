"""What a Python application depends on, and how that is installed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from consumers.builds.detect import describes_project, project_table
from consumers.builds.listing import Listing

_NAME = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")
# A requirement by name and version, or the hash of one; no path, no address, no other file.
_PLAIN = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*([<>=!~]=?[^;/@]*)?(;[^/@]*)?"
    r"|(--hash=sha(256|384|512):[0-9a-f]+\s*)+"
)
# Extras that bring the server with them.
_BROUGHT = {("fastapi", "standard"): "uvicorn", ("fastapi", "all"): "uvicorn"}


class Install(StrEnum):
    """Where the dependencies are written down."""

    LOCK = "uv.lock"
    REQUIREMENTS = "requirements.txt"
    PACKAGE = "pyproject.toml with a build system"
    PROJECT = "pyproject.toml"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Requirements:
    """Direct dependencies by normalised name, and how to install them."""

    install: Install
    names: frozenset[str] = frozenset()

    def __contains__(self, name: str) -> bool:
        return name in self.names


def requirements(listing: Listing) -> Requirements:
    """Read them.

    Raises:
        BuildFailed: pyproject.toml cannot be parsed.
    """
    table = project_table(listing)
    lines = [*_lines(listing.text("requirements.txt"))]
    project = table.get("project")
    declared = project.get("dependencies") if isinstance(project, dict) else None
    found = declared if isinstance(declared, list) else []
    listed = [item for item in found if isinstance(item, str)]
    names = _names([*lines, *listed, *_poetry(table)])
    return Requirements(_install(listing, table, lines=lines, listed=listed), names)


def self_contained(listing: Listing, install: Install) -> bool:
    """Whether the files that name the dependencies decide alone what is installed.

    They do not when they lead to other files of the repository, whose content counts as well.
    """
    if install is Install.REQUIREMENTS:
        lines = [*_lines(listing.text("requirements.txt"))]
        return all(_PLAIN.fullmatch(line.rstrip("\\ ")) for line in lines)
    if install is Install.PACKAGE:
        return False
    tools = project_table(listing).get("tool")
    uv = tools.get("uv") if isinstance(tools, dict) else None
    return not isinstance(uv, dict) or not ({"sources", "workspace"} & uv.keys())


def _install(
    listing: Listing, table: dict[str, Any], *, lines: list[str], listed: list[str]
) -> Install:
    if "uv.lock" in listing and "project" in table:
        return Install.LOCK
    if "requirements.txt" in listing:
        return Install.REQUIREMENTS if lines else Install.NOTHING
    if describes_project(table) and "build-system" in table:
        return Install.PACKAGE
    return Install.PROJECT if listed else Install.NOTHING


def _lines(text: str) -> Iterable[str]:
    """Requirement lines and options, without blanks and comments."""
    for line in text.splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        if bare:
            yield bare


def _names(requirement_lines: Iterable[str]) -> frozenset[str]:
    found: set[str] = set()
    for line in requirement_lines:
        match = _NAME.match(line)
        if match is None:
            continue
        name = _normalised(match["name"])
        extras = {_normalised(extra.strip()) for extra in (match["extras"] or "").split(",")}
        found.add(name)
        found |= {
            brought
            for (package, extra), brought in _BROUGHT.items()
            if package == name and extra in extras
        }
    return frozenset(found)


def _normalised(name: str) -> str:
    # https://packaging.python.org/en/latest/specifications/name-normalization/
    return re.sub(r"[-_.]+", "-", name).lower()


def _poetry(table: dict[str, Any]) -> list[str]:
    tools = table.get("tool")
    poetry = tools.get("poetry") if isinstance(tools, dict) else None
    listed = poetry.get("dependencies") if isinstance(poetry, dict) else None
    return [str(name) for name in listed if name != "python"] if isinstance(listed, dict) else []
