"""What happened, and how it travels."""

from __future__ import annotations
