"""What a handler answers: done, later, or drop. Anything else is an exception."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Done:
    """The event has had its effect, here or before."""


@dataclass(frozen=True, slots=True)
class Later:
    """Not now, and nothing has failed: hand the event out again after `seconds`.

    A durable allows this `deferrals` times a message; waiting longer is a reconciler's work.
    """

    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Drop:
    """The event means nothing any more; `reason` goes to the log."""

    reason: str


Outcome: TypeAlias = Done | Later | Drop
