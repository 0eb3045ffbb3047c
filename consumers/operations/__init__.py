"""Carries out what an operator asks for: replays, refills, rebuilds."""

from __future__ import annotations
