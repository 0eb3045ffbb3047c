"""The build's log: our own lines, and the programs' output cleaned, masked and bounded."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from zeitwork.errors import BuildFailed
from zeitwork.logs import masked

# Whoever stores the log keeps 20 000 lines; ours must still come through after a flood.
_SHOWN_LINES = 10_000
_LINE_CHARACTERS = 2_000
# A program that prints without end would occupy the event loop until the deadline.
_MOST_CHARACTERS = 128 * 1024 * 1024
_LINE_COST = 256
_TAIL_LINES = 200  # npm prints its usage behind what went wrong

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Transcript:
    """Writes lines to the log.

    Attributes:
        current: the step that was announced last.
        tail: the newest lines of the program that runs, for error messages.
    """

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._lines = 0
        self._cost = 0
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self.current = "nothing yet"

    def step(self, text: str) -> None:
        self.current = masked(text)
        self._log(f"==> {masked(text)}")

    def say(self, text: str) -> None:
        self._log(f"    {masked(text)}")

    def output(self, line: str) -> None:
        """Take one line of a program.

        Raises:
            BuildFailed: the programs of this build have printed too much.
        """
        self._cost += max(len(line), _LINE_COST)
        if self._cost > _MOST_CHARACTERS:
            raise BuildFailed("The build printed too much and was stopped. Make it quieter.")
        shown = clean(line)
        self.tail.append(shown)
        if self._lines >= _SHOWN_LINES:
            return
        self._lines += 1
        self._log(f"    {shown}")
        if self._lines == _SHOWN_LINES:
            self.say(f"More than {_SHOWN_LINES} lines of output; the rest is not shown.")


def clean(line: str) -> str:
    """One line as plain text: no escape sequences, no control characters, no passwords."""
    # Progress bars draw over themselves; what stands last is what a terminal would show.
    last = line.rstrip("\r").rpartition("\r")[2]
    plain = _CONTROLS.sub("", _ESCAPES.sub("", last))
    return masked(plain)[:_LINE_CHARACTERS]
