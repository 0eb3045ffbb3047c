"""Deployments that somebody asked for by name."""

from __future__ import annotations
