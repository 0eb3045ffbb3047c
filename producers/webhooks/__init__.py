"""Webhooks: verify, store, answer. Nothing else."""

from __future__ import annotations
