"""Carries visitors' requests to instances; reads, never writes."""

from __future__ import annotations
