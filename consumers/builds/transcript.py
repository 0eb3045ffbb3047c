"""The build's log: our own lines, and the programs' output cleaned, masked and bounded."""

from __future__ import annotations

import re
from collections.abc import Callable

from zeitwork.errors import BuildFailed
from zeitwork.logs import masked
from zeitwork.masking import Lines, Masking

# Whoever stores the log keeps 20 000 lines; ours must still come through after a flood.
_SHOWN_LINES = 10_000
_LINE_CHARACTERS = 2_000
# A program that prints without end would occupy the event loop until the deadline.
_MOST_CHARACTERS = 128 * 1024 * 1024
_LINE_COST = 256

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Transcript:
    """Writes lines to the log.

    Attributes:
        current: the step that was announced last.
        last: the newest line of output, for error messages.
    """

    def __init__(self, log: Callable[[str], None], *, masking: Masking | None = None) -> None:
        self._log = log
        self._masking = masking or Masking()
        self._output = Lines(self._masking)
        self._lines = 0
        self._cost = 0
        self.last = ""
        self.current = "nothing yet"

    def step(self, text: str) -> None:
        self.current = self._own(text)
        self._log(f"==> {self.current}")

    def say(self, text: str) -> None:
        self._log(f"    {self._own(text)}")

    def output(self, line: str) -> None:
        """Take one line of a program.

        Raises:
            BuildFailed: the programs of this build have printed too much.
        """
        self._cost += max(len(line), _LINE_COST)
        if self._cost > _MOST_CHARACTERS:
            raise BuildFailed("The build printed too much and was stopped. Make it quieter.")
        # A value is looked for before the line is cut, and over the lines before it.
        for whole in self._output.feed(f"{plain(line)}\n"):
            self._show(shortened(whole))

    def end_output(self) -> None:
        """Show what was held back because it might have been the beginning of a value."""
        for whole in self._output.flush():
            self._show(shortened(whole))

    def _own(self, text: str) -> str:
        """A line of ours, behind all output so far."""
        self.end_output()
        return masked(self._masking.redact(text))

    def _show(self, shown: str) -> None:
        self.last = shown.strip() or self.last
        if self._lines >= _SHOWN_LINES:
            return
        self._lines += 1
        self._log(f"    {shown}")
        if self._lines == _SHOWN_LINES:
            self.say(f"More than {_SHOWN_LINES} lines of output; the rest is not shown.")


def clean(line: str) -> str:
    """One line as it is shown: see `plain` and `shortened`."""
    return shortened(plain(line))


def plain(line: str) -> str:
    """One line as plain text: no escape sequences, no control characters."""
    # Progress bars draw over themselves; what stands last is what a terminal would show.
    last = line.rstrip("\r").rpartition("\r")[2]
    return _CONTROLS.sub("", _ESCAPES.sub("", last))


def shortened(line: str) -> str:
    """A plain line without the passwords of URLs, and not longer than a log takes."""
    return masked(line)[:_LINE_CHARACTERS]
