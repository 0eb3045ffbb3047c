"""Asking before what cannot be taken back."""

from __future__ import annotations

import asyncio
import sys

from cli import output
from zeitwork.errors import InvalidInput

_YES = frozenset({"y", "yes"})


async def confirm(question: str) -> bool:
    """True when the person at the terminal says yes; Ctrl-C ends the command as ever.

    Raises:
        InvalidInput: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise InvalidInput(f"{question} Nobody is here to ask: add --yes.")
    output.err.print(output.text(f"{question} [y/N]"), end=" ")
    loop, typed = asyncio.get_running_loop(), asyncio.Event()
    # Waiting inside the loop, because a blocking read would keep Ctrl-C from being handled.
    loop.add_reader(sys.stdin.fileno(), typed.set)
    try:
        await typed.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline().strip().lower() in _YES
