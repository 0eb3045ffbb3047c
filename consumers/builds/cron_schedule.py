"""Times of crons: five fields as crontab(5) has them, or a name such as @daily. Pure."""

from __future__ import annotations

import re

_NAMES = frozenset(
    {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)  # fmt: skip
_PART = re.compile(r"(?P<from>\*|\w+)(?:-(?P<to>\w+))?(?:/(?P<step>\d{1,3}))?")


def check_schedule(schedule: str) -> str:
    """The schedule with single blanks.

    Raises:
        ValueError: it is none; the message says which field.
    """
    fields = schedule.split()
    if schedule.strip().lower() in _NAMES:
        return schedule.strip().lower()
    if len(fields) != len(_FIELDS):
        raise ValueError(f"{schedule!r} needs five fields, such as '0 3 * * *', or @daily")
    for field, (name, low, high, names) in zip(fields, _FIELDS, strict=True):
        if not all(_fits(part, low, high, names) for part in field.lower().split(",")):
            raise ValueError(f"{field!r} is no {name} ({low} to {high})")
    return " ".join(fields)


def _fits(part: str, low: int, high: int, names: tuple[str, ...]) -> bool:
    match = _PART.fullmatch(part)
    if match is None or (match["step"] is not None and int(match["step"]) == 0):
        return False
    if match["from"] == "*":
        return match["to"] is None
    first = _number(match["from"], low, names)
    last = _number(match["to"], low, names) if match["to"] else first
    return first is not None and last is not None and low <= first <= last <= high


def _number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 2 else None  # noqa: PLR2004
