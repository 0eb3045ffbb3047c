"""Takes secret values out of a stream of text: plain, in base64, in URLs, in JSON; pure.

A value is found wherever the output is cut between its characters: by chunks, by the ends of lines,
with the next line indented. To that end white space is not compared, and text that may be the
beginning of a value is held back until it is known. What is held back and what is remembered is
bounded, as long values are looked for in pieces.
"""

from __future__ import annotations

import base64
import bisect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "***"
# Shorter values ("true", "8080") would turn ordinary output into stars.
LEAST_CHARACTERS: Final = 6
_SEED = LEAST_CHARACTERS
_PIECE = 256
# At the end of a line so many characters that may begin a value are shown rather than the line held
# back: a line would often wait for its successor, as most letters begin some value.
_SHOWN_AT_LINE_END = 3
_MOST_OF_A_LINE = 8 * 1024
_MOST_HELD = 8 * 1024  # with the line ends in it, which a value does not count
_WORD = re.compile(r"\S+")
_GAP = re.compile(r"\s+")
_LINES = re.compile(r"(\n\s*)")
_HEX = re.compile(r"%[0-9A-F]{2}")


class Masking:
    """The values of one environment, ready to be looked for."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        pieces = {
            piece
            for value in values
            if len(_GAP.sub("", value)) >= LEAST_CHARACTERS
            for form in _forms(value)
            for piece in _pieces(_GAP.sub("", form))
        }
        self._by_seed: dict[str, list[str]] = {}
        for piece in sorted(pieces, key=lambda each: (-len(each), each)):
            self._by_seed.setdefault(piece[:_SEED], []).append(piece)
        self._beginnings = {seed[:size] for seed in self._by_seed for size in range(1, _SEED)}
        self._candidate = _candidates(self._by_seed)

    def __bool__(self) -> bool:
        return bool(self._by_seed)

    @property
    def longest_bytes(self) -> int:
        """How far back the beginning of a value may lie, lines and letters of UTF-8 included."""
        return 8 * _PIECE if self._by_seed else 0

    def redact(self, text: str) -> str:
        """A whole text without the values."""
        stream = self.stream()
        return stream.feed(text) + stream.flush()

    def stream(self) -> Stream:
        """For text that comes bit by bit."""
        return Stream(self)

    def starts(self, text: str) -> list[int]:
        """Where a text without gaps may begin a value, as far as two letters tell."""
        return [found.start() for found in self._candidate.finditer(text)]

    def covers(self, text: str, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Where values stand; what touches is one."""
        begin = end = 0
        for start in starts:
            for piece in self._by_seed.get(text[start : start + _SEED], ()):
                if text.startswith(piece, start):
                    if start > end:
                        if end:
                            yield begin, end
                        begin = start
                    end = max(end, start + len(piece))
                    break  # the longest comes first
        if end:
            yield begin, end

    def undecided(self, text: str, starts: Sequence[int]) -> int:
        """From where on it may be the beginning of a value, which what follows will tell."""
        for start in starts[bisect.bisect_left(starts, len(text) - _PIECE + 1) :]:
            rest = text[start:]
            if len(rest) < _SEED:
                if rest in self._beginnings:
                    return start
            elif any(
                len(piece) > len(rest) and piece.startswith(rest)
                for piece in self._by_seed.get(rest[:_SEED], ())
            ):
                return start
        return len(text) - 1 if text[-1:] in self._beginnings else len(text)


class Stream:
    """One text on its way through.

    `_kept` is what may be the beginning of a value; of it, what lies before `_told` has been passed
    on, and what lies before `_covered` belongs to a value that has its mask already.
    """

    def __init__(self, masking: Masking) -> None:
        self._masking = masking
        self._kept = ""
        self._told = 0
        self._covered = 0

    def feed(self, chunk: str) -> str:
        """What is safe to show now."""
        if not self._masking:
            return chunk
        self._kept += chunk
        text = _Compared(self._kept)
        starts = self._masking.starts(text.plain)
        covers = [text.place(*cover) for cover in self._masking.covers(text.plain, starts)]
        undecided = self._masking.undecided(text.plain, starts)
        hold = text.index(undecided)
        shown = self._tell(max(self._told, hold), covers)
        rest = text.plain[undecided:]
        if rest and text.ends_a_line and len(rest) <= _SHOWN_AT_LINE_END:
            shown += self._tell(len(self._kept), covers)
            # All of it is told: of its gaps one stands for all.
            self._kept, self._covered = f"{rest}\n", 0
            self._told = len(self._kept)
        elif len(self._kept) - hold > _MOST_HELD:
            shown += self.flush()
        else:
            self._forget(hold)
        return shown

    def flush(self) -> str:
        """The rest, at the end of the text or where something else begins."""
        text = _Compared(self._kept)
        found = self._masking.covers(text.plain, self._masking.starts(text.plain))
        shown = self._tell(len(self._kept), [text.place(*cover) for cover in found])
        self._kept, self._told, self._covered = "", 0, 0
        return shown

    def _tell(self, until: int, covers: Sequence[tuple[int, int]]) -> str:
        """Pass on what comes before `until`; a value that reaches further is masked at once."""
        parts = []
        if self._covered > self._told:
            end = min(self._covered, until)
            parts += _LINES.findall(self._kept[self._told : end])
            self._told = end
        for begin, end in covers:
            if end <= self._told or begin >= until:
                continue
            first = max(begin, self._told)
            last = min(end, until)
            parts += [self._kept[self._told : first], _stars(self._kept[first:last])]
            self._told, self._covered = last, end
        parts.append(self._kept[self._told : until])
        self._told = until
        return "".join(parts)

    def _forget(self, until: int) -> None:
        self._kept = self._kept[until:]
        self._told -= until
        self._covered = max(0, self._covered - until)


class Lines:
    """A text that comes bit by bit, as whole lines without the values."""

    def __init__(self, masking: Masking) -> None:
        self._stream = masking.stream()
        self._begun = ""

    def feed(self, chunk: str) -> list[str]:
        """The lines that are complete now; of one that never ends, what there is."""
        *whole, self._begun = (self._begun + self._stream.feed(chunk)).split("\n")
        if len(self._begun) > _MOST_OF_A_LINE:
            whole.append(self._begun)
            self._begun = ""
        return whole

    def flush(self) -> list[str]:
        """The rest, also a last line without its end."""
        rest, self._begun = self._begun + self._stream.flush(), ""
        return rest.splitlines()


class _Compared:
    """A text without its gaps, and where its characters stand in the text with them."""

    def __init__(self, text: str) -> None:
        self._size = len(text)
        self._plain_starts: list[int] = []
        self._text_starts: list[int] = []
        parts: list[str] = []
        size = 0
        for word in _WORD.finditer(text):
            self._plain_starts.append(size)
            self._text_starts.append(word.start())
            parts.append(word[0])
            size += len(word[0])
        self.plain = "".join(parts)
        self.ends_a_line = text.endswith("\n")

    def index(self, position: int) -> int:
        """Where the character at `position` of `plain` stands in the text."""
        if position >= len(self.plain):
            return self._size
        part = bisect.bisect_right(self._plain_starts, position) - 1
        return self._text_starts[part] + position - self._plain_starts[part]

    def place(self, begin: int, end: int) -> tuple[int, int]:
        return self.index(begin), self.index(end - 1) + 1


def _stars(text: str) -> str:
    """A mask in each line, so that lines stay lines."""
    parts = _LINES.split(text)
    return "".join(part if index % 2 else MASK for index, part in enumerate(parts) if part)


def _forms(value: str) -> Iterator[str]:
    """What programs make of a value when they print it."""
    yield value
    yield from value.splitlines()  # PEM files are shown from their second line as well
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    for encoded in (quote(value, errors="replace"), quote(value, safe="", errors="replace")):
        yield encoded
        yield _HEX.sub(lambda found: found[0].lower(), encoded)
    yield quote_plus(value, errors="replace")
    yield from _base64(value.encode(errors="replace"))


def _base64(value: bytes) -> Iterator[str]:
    """The characters that the value alone decides, behind zero, one or two other bytes."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + value).decode().rstrip("=")
        own = encoded[(before * 8 + 5) // 6 :]
        if (before + len(value)) % 3:
            own = own[:-1]  # shares its bits with the byte that follows
        yield own
        yield own.replace("+", "-").replace("/", "_")


def _pieces(text: str) -> Iterator[str]:
    """The whole text, or pieces that cover it."""
    if len(text) < LEAST_CHARACTERS:
        return
    for start in range(0, max(1, len(text) - _PIECE + 1), _PIECE):
        yield text[start : start + _PIECE]
    if len(text) > _PIECE:
        yield text[-_PIECE:]


def _candidates(seeds: Iterable[str]) -> re.Pattern[str]:
    """Where two letters begin a seed; what is found may overlap."""
    followers: dict[str, set[str]] = {}
    for seed in seeds:
        followers.setdefault(seed[0], set()).add(seed[1])
    pairs = [
        f"{re.escape(first)}[{''.join(map(re.escape, sorted(seconds)))}]"
        for first, seconds in sorted(followers.items())
    ]
    return re.compile(f"(?={'|'.join(pairs)})" if pairs else r"(?!)")
