"""Which of two pushes of a reference is the newer one, when they may come in any order; pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Move:
    """A reference went from one commit to another; None stands for none.

    Attributes:
        at: by the sender's clock, to the second; None when it does not say.
    """

    before: str | None
    after: str | None
    at: datetime | None


def is_late(said: Move, known: Move | None) -> bool:
    """Whether `said` happened before `known`, the newest move heard of so far.

    The sender's clock decides. Within one second the chain of commits does: what starts from where
    we are follows us, and what leads to where the known move began came before it.
    """
    if known is None:
        return False
    if said.at is not None and known.at is not None and said.at != known.at:
        return said.at < known.at
    if said.before == known.after and said.after != known.after:
        return False
    return said.after is not None and said.after == known.before
