"""Which versions of Node.js a range admits: what package.json and .nvmrc hold. Pure.

https://docs.npmjs.com/cli/v11/using-npm/semver, of which pre-releases are left out: Node.js has
none that machines carry.
"""

from __future__ import annotations

import re

Version = tuple[int, int, int]

_PARTIAL = (
    r"v?(?P<major>\d{1,9}|[xX*])(?:\.(?P<minor>\d{1,9}|[xX*]))?(?:\.(?P<patch>\d{1,9}|[xX*]))?"
)
_COMPARATOR = re.compile(rf"(?P<operator>[<>]=?|=|\^|~>?)?\s*{_PARTIAL}(?:[-+][\w.+-]*)?")
_HYPHEN = re.compile(r"\s*(\S+)\s+-\s+(\S+)\s*")
_GLUE = re.compile(r"([<>]=?|=|\^|~>?)\s+")
_TOP = (10**10, 0, 0)


def admits(wanted: str, version: str) -> bool | None:
    """Whether `version` is in the range; None when the range is not understood."""
    given = tuple(int(part) for part in version.split(".")[:3])
    if len(given) != 3:  # noqa: PLR2004 - major, minor, patch
        return None
    verdicts = [_all(part, given) for part in wanted.split("||")]
    if None in verdicts:
        return None
    return any(verdicts)


def _all(part: str, given: Version) -> bool | None:
    if hyphen := _HYPHEN.fullmatch(part):
        part = f">={hyphen[1]} <={hyphen[2]}"
    words = _GLUE.sub(r"\1", part.replace(",", " ")).split()
    bounds = [_bounds(word) for word in words]
    if None in bounds:
        return None
    return all(low <= given < high for bound in bounds if bound for low, high in (bound,))


def _bounds(word: str) -> tuple[Version, Version] | None:
    """From where, and up to where, the versions are that one comparator admits."""
    match = _COMPARATOR.fullmatch(word)
    if match is None:
        return None
    numbers: list[int] = []
    for name in ("major", "minor", "patch"):
        if match[name] is None or not match[name].isdecimal():
            break
        numbers.append(int(match[name]))
    low = _filled(numbers)
    if not numbers:
        return (0, 0, 0), _TOP
    after = _next(numbers)
    match match["operator"]:
        case ">=":
            return low, _TOP
        case ">":
            return after, _TOP
        case "<":
            return (0, 0, 0), low
        case "<=":
            return (0, 0, 0), after
        case "^":
            return low, _next(_significant(numbers))
        case "~" | "~>":
            return low, _next(numbers[:2])
        case _:
            return low, after


def _significant(numbers: list[int]) -> list[int]:
    """Up to the first number that is not zero: what a caret keeps."""
    for index, number in enumerate(numbers):
        if number:
            return numbers[: index + 1]
    return numbers


def _next(numbers: list[int]) -> Version:
    return _filled([*numbers[:-1], numbers[-1] + 1])


def _filled(numbers: list[int]) -> Version:
    major, minor, patch = (*numbers, 0, 0, 0)[:3]
    return major, minor, patch
