"""NATS, PostgreSQL and Valkey from their wheels, each in one directory, for one machine."""

from __future__ import annotations

from pathlib import Path


def programs() -> list[Path]:
    """The programs of the three servers.

    Raises:
        HostUnsupported: one of them is not installed.
    """
    from cli.embedded import nats, postgres, valkey

    return [nats.program(), postgres.program("postgres"), valkey.program()]
