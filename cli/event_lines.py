"""An event on one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.text import Text

from cli import output


def event_line(event: Mapping[str, Any]) -> Text:
    """Time, type, what it is about, and the plain facts it says."""
    return Text.assemble(
        (event["time"][11:23], "dim"),
        " ",
        (f"{event['type']:<24}", "bold"),
        f" {event['subject']} ",
        output.text(plain_facts(event)),
    )


def plain_facts(event: Mapping[str, Any]) -> str:
    """`name=value` of what is short and not said by the subject already."""
    return " ".join(
        f"{name}={value}"
        for name, value in event["data"].items()
        if value is not None and not isinstance(value, dict | list) and value != event["subject"]
    )
