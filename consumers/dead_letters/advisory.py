"""The server's word that it no longer delivers a message, and whether that concerns us; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from events import streams

Code = Literal["max_deliveries", "terminated"]
_CODES: Mapping[str, Code] = {"MAX_DELIVERIES": "max_deliveries", "MSG_TERMINATED": "terminated"}
# Only what carries work is buried. A letter about a letter, or about an advisory, would be the
# next advisory's cause: without end.
_BURIED_FROM = frozenset({streams.EVENTS.name, streams.JOBS.name})
_END_OF_THE_ROAD = frozenset(each.name for each in streams.DURABLES if each.endless)


@dataclass(frozen=True, slots=True)
class Advisory:
    """A message that the server gave up: its place, and how often it was handed out."""

    code: Code
    stream: str
    durable: str
    sequence: int
    deliveries: int

    @property
    def detail(self) -> str:
        """One line for people."""
        times = f"handed out {self.deliveries} times"
        if self.code == "terminated":
            return f"{times}; its consumer ended it without burying it"
        return f"{times}, never answered: the process died or hung each time"

    @property
    def concerns_us(self) -> bool:
        """True when the message is to be buried."""
        return self.stream in _BURIED_FROM and self.durable not in _END_OF_THE_ROAD


def read(subject: str, payload: bytes) -> Advisory | None:
    """The advisory in a message of ZW_ADVISORY; None when it says nothing usable."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    code = next((each for token, each in _CODES.items() if f".{token}." in subject), None)
    if not isinstance(said, dict) or code is None:
        return None
    stream, durable = said.get("stream"), said.get("consumer")
    sequence, deliveries = _count(said.get("stream_seq")), _count(said.get("deliveries"))
    if not (isinstance(stream, str) and isinstance(durable, str) and stream and durable):
        return None
    if sequence is None or deliveries is None:
        return None
    return Advisory(code, stream, durable, sequence, deliveries)


def _count(value: Any) -> int | None:
    """A number as the server counts: 1 to 2^63 - 1."""
    fits = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 63
    return value if fits else None
