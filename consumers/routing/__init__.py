"""Keeps routing_cache and tells the proxies."""

from __future__ import annotations
