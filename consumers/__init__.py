"""Reacts to events, does the work, remembers the result."""

from __future__ import annotations
