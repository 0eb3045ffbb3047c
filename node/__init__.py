"""Runs instances on one machine; has no database, talks through the API and the bus."""

from __future__ import annotations
