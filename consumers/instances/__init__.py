"""Takes the nodes' reports."""

from __future__ import annotations
