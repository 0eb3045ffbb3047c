"""Conformance suites: every driver of a protocol passes the same one."""

from __future__ import annotations
