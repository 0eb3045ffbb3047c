"""Turns outside stimuli into events; never does the work."""

from __future__ import annotations
