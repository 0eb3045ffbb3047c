"""Builds: a commit becomes a content-addressed artifact."""
