"""Starts everything, and is a client of the API."""

from __future__ import annotations
