"""Measurements: they print figures and assert nothing."""

from __future__ import annotations
