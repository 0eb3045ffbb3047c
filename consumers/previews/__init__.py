"""Previews: environments that come and go with pull requests and branches."""

from __future__ import annotations
