"""Places instances on nodes."""

from __future__ import annotations
