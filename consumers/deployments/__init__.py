"""Moves deployments along their states."""

from __future__ import annotations
