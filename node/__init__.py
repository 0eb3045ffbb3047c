"""Runs instances on one machine; has no database."""

from __future__ import annotations
