"""Zeitwork: push to GitHub, get a live URL."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("zeitwork")
