"""Watches the nodes' heartbeats."""

from __future__ import annotations
