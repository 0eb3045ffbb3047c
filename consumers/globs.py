"""Globs over branches and paths; pure, and never slower than the text times the pattern.

Both are compared part by part, the parts being what lies between slashes:

- `?` is one character of a part, `*` any number of them, also none;
- a part that is `**` stands for any number of whole parts; at the end for at least one, so that
  `docs/**` is everything below `docs` and not `docs` itself;
- everything else stands for itself, and case matters.

No regular expression is made of them: whoever can set a pattern could make one run for hours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_ANY_PARTS = "**"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is what `pattern` describes."""
    return _parts_match(pattern.split("/"), text.split("/"))


def any_matches(patterns: Iterable[str], text: str) -> bool:
    return any(matches(pattern, text) for pattern in patterns)


def is_exact(pattern: str) -> bool:
    """True where a pattern stands for one text only."""
    return not set(pattern) & {"*", "?"}


def _parts_match(pattern: Sequence[str], text: Sequence[str]) -> bool:
    # reached[j]: the parts of the pattern so far describe the first j parts of the text.
    reached = [True, *(False for _ in text)]
    for index, part in enumerate(pattern):
        if part == _ANY_PARTS:
            fewest = 1 if index == len(pattern) - 1 else 0
            reached = _skipping(reached, fewest)
        else:
            ahead = [
                before and _part_matches(part, found)
                for before, found in zip(reached, text, strict=False)
            ]
            reached = [False, *ahead]
    return reached[-1]


def _skipping(reached: Sequence[bool], fewest: int) -> list[bool]:
    """After parts that do not matter, at least `fewest` of them."""
    earliest = next((index for index, here in enumerate(reached) if here), len(reached))
    return [index >= earliest + fewest for index in range(len(reached))]


def _part_matches(pattern: str, text: str) -> bool:
    """Remember only the last star: if the rest does not fit behind it, it takes one more."""
    at = here = 0
    star, resume = -1, 0
    while here < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, here
            at += 1
        elif at < len(pattern) and pattern[at] in {"?", text[here]}:
            at, here = at + 1, here + 1
        elif star >= 0:
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return all(letter == "*" for letter in pattern[at:])
