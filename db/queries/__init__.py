"""Named reads and writes, one file a noun. They take a session and never commit."""

from __future__ import annotations
