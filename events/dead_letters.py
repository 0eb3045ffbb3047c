"""Dead letters: what an operator decided about a message that no attempt could handle."""

from __future__ import annotations

from events.event import Event


class DeadLetterDecided(Event):
    """What every decision says."""

    dead_letter_id: str
    durable: str


class DeadLetterRedriven(DeadLetterDecided, type="dead_letter.redriven"):
    """It is to be handed to the durable that failed, once more."""


class DeadLetterDiscarded(DeadLetterDecided, type="dead_letter.discarded"):
    """Nobody needs it any more."""
