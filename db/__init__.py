"""What we remember; the only place that knows SQL."""

from __future__ import annotations
