"""Pushes become deployments."""

from __future__ import annotations
