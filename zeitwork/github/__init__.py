"""A client of GitHub's REST API that acts as a GitHub App: https://docs.github.com/en/rest."""

from __future__ import annotations
