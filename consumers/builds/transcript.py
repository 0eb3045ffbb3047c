"""The build's log: our own lines, and the programs' output cleaned, masked and bounded.

Colours stay as the programs printed them; everything else that would steer a terminal goes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

from events.builds import Stream
from zeitwork.errors import BuildFailed
from zeitwork.logs import masked
from zeitwork.masking import Lines, Masking

# Whoever stores the log keeps some lines more; ours must still come through after a flood.
_SHOWN_LINES = 200_000
_SHOWN_CHARACTERS = 32 * 1024 * 1024
_LINE_CHARACTERS = 2_000
# A program that prints without end would occupy the event loop until the deadline.
_MOST_CHARACTERS = 128 * 1024 * 1024
_LINE_COST = 256
_TAIL_LINES = 200  # npm prints its usage behind what went wrong

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Log(Protocol):
    """Takes a line; what comes back, if anything, is to be awaited before the next one."""

    def __call__(self, text: str, stream: Stream, /) -> Awaitable[None] | None: ...


class Transcript:
    """Writes lines to the log.

    Attributes:
        current: the step that was announced last.
        tail: the newest lines of the program that runs, for error messages.
    """

    def __init__(self, log: Log, *, masking: Masking | None = None) -> None:
        self._log = log
        self._masking = masking or Masking()
        # What is cut over two lines is whole only within one stream.
        self._outputs = {stream: Lines(self._masking) for stream in Stream}
        self._lines = 0
        self._characters = 0
        self._cost = 0
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.current = "nothing yet"

    def step(self, text: str) -> None:
        self.current = self._own(text)
        self._log(f"==> {self.current}", Stream.PLATFORM)

    def say(self, text: str) -> None:
        self._log(f"    {self._own(text)}", Stream.PLATFORM)

    def output(self, line: str, stream: Stream = Stream.STDOUT) -> Awaitable[None] | None:
        """Take one line of a program; see `Log` for what comes back.

        Raises:
            BuildFailed: the programs of this build have printed too much.
        """
        self._cost += max(len(line), _LINE_COST)
        if self._cost > _MOST_CHARACTERS:
            raise BuildFailed("The build printed too much and was stopped. Make it quieter.")
        # A value is looked for before the line is cut, and over the lines before it.
        bare = _bare(_drawn(line))
        room = None
        for whole in self._outputs[stream].feed(f"{bare}\n"):
            # Where nothing had to be masked, colours hide nothing either.
            shown = coloured(line) if whole == bare else _shortened(whole)
            room = self._show(shown, stream, told=_shortened(whole))
        return room

    def end_output(self) -> None:
        """Show what was held back because it might have been the beginning of a value."""
        for stream, output in self._outputs.items():
            for whole in output.flush():
                self._show(_shortened(whole), stream, told=_shortened(whole))

    def _own(self, text: str) -> str:
        """A line of ours, behind all output so far."""
        self.end_output()
        return masked(self._masking.redact(text))

    def _show(self, shown: str, stream: Stream, *, told: str) -> Awaitable[None] | None:
        """Log a line, as long as there is room; `told` is what error messages may quote."""
        self.tail.append(told)
        if self._lines >= _SHOWN_LINES or self._characters >= _SHOWN_CHARACTERS:
            return None
        self._lines += 1
        self._characters += len(shown)
        room = self._log(f"    {shown}", stream)
        if self._lines == _SHOWN_LINES:
            self.say(f"More than {_SHOWN_LINES} lines of output; the rest is not shown.")
        elif self._characters >= _SHOWN_CHARACTERS:
            self.say(f"More than {_SHOWN_CHARACTERS >> 20} MiB of output; the rest is not shown.")
        return room


def plain(line: str) -> str:
    """One line as plain text: no escape sequences, no control characters, no passwords."""
    return _shortened(_bare(_drawn(line)))


def coloured(line: str) -> str:
    """One line with its colours, which end with it; plain where they would hide a password."""
    drawn = _drawn(line)
    bare = _bare(drawn)
    if "\x1b" not in drawn or masked(bare) != bare or len(bare) > _LINE_CHARACTERS:
        return _shortened(bare)
    pieces, end, kept = [], 0, False
    for colour in _COLOUR.finditer(drawn):
        pieces += [_bare(drawn[end : colour.start()]), colour.group()]
        end, kept = colour.end(), True
    text = "".join([*pieces, _bare(drawn[end:])])
    # The next line is another program's, or ours.
    return f"{text}\x1b[0m" if kept and not text.endswith("\x1b[0m") else text


def _drawn(line: str) -> str:
    """Progress bars draw over themselves; what stands last is what a terminal would show."""
    return line.rstrip("\r").rpartition("\r")[2]


def _bare(text: str) -> str:
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def _shortened(line: str) -> str:
    """A plain line without the passwords of URLs, and not longer than a log takes."""
    return masked(line)[:_LINE_CHARACTERS]
