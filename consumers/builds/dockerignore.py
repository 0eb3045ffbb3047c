"""`.dockerignore`: which files of a repository an image build does not see. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from consumers.builds.globs import Pattern
from zeitwork.errors import BuildFailed

NAME = ".dockerignore"
_WILD = frozenset("*?[\\")


@dataclass(frozen=True, slots=True)
class _Rule:
    text: str
    pattern: Pattern | None  # None where the text is taken as it is, which is most of the time
    includes: bool

    def matches(self, path: str) -> bool:
        return path == self.text if self.pattern is None else self.pattern.matches(path)


@dataclass(frozen=True, slots=True)
class Ignored:
    """The rules in their order; the last one that matches a path, or a folder above it, decides."""

    rules: tuple[_Rule, ...] = ()

    def __contains__(self, path: str) -> bool:
        names = [path, *(str(parent) for parent in PurePosixPath(path).parents)]
        for rule in reversed(self.rules):
            if any(rule.matches(name) for name in names):
                return not rule.includes
        return False

    @property
    def has_exceptions(self) -> bool:
        """Whether something below a folder that is left out may still be wanted."""
        return any(rule.includes for rule in self.rules)


def parse(text: str) -> Ignored:
    """Understand the file's text, as Docker does.

    Raises:
        BuildFailed: a pattern cannot be understood; the message names its line.
    """
    rules = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        if line.startswith("#") or not (said := line.strip()):
            continue
        includes = said.startswith("!")
        name = posixpath.normpath(said.removeprefix("!").strip()).lstrip("/")
        if name in {"", "."}:
            continue
        try:
            pattern = Pattern(name) if _WILD & {*name} else None
            rules.append(_Rule(name, pattern, includes))
        except ValueError as error:
            raise BuildFailed(
                f"{NAME}, line {number}: {said[:80]!r} is not a pattern. Correct it."
            ) from error
    return Ignored(tuple(rules))


def always_sent(dockerfile: str) -> Sequence[str]:
    """What the Engine needs itself; it hides from the image what the rules leave out of these."""
    return (dockerfile, NAME)
