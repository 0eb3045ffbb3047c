"""The REST API: one table of routes, one shape of errors."""

from __future__ import annotations
