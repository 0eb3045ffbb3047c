"""How routing_cache differs from what its sources say; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """A host's row, as it is or as it should be.

    Attributes:
        targets: as stored, so that even what is no target can be compared.
        version: its own; of a row as it should be, the newest that proxies may know.
    """

    host: str
    environment_id: str
    project_id: str
    deployment_id: str | None
    targets: Sequence[Mapping[str, Any]]
    version: int


@dataclass(frozen=True, slots=True)
class Difference:
    """Hosts whose row is missing, wrong (before, after), or of no environment."""

    added: Mapping[str, Row]
    changed: Mapping[str, tuple[Row, Row]]
    removed: Mapping[str, Row]

    def document(self) -> dict[str, Any]:
        """Each host with the columns that differ, for a report."""
        return {
            "added": [_entry(host, None, row) for host, row in self.added.items()],
            "changed": [_entry(host, *rows) for host, rows in self.changed.items()],
            "removed": [_entry(host, row, None) for host, row in self.removed.items()],
        }


def difference(wanted: Iterable[Row], present: Iterable[Row]) -> Difference:
    """Compare by host; a row also differs when its version is behind what proxies were told."""
    rows = {row.host: row for row in present}
    hosts = {row.host: row for row in wanted}
    return Difference(
        added={host: hosts[host] for host in sorted(hosts.keys() - rows.keys())},
        changed={
            host: (rows[host], hosts[host])
            for host in sorted(hosts.keys() & rows.keys())
            if _differs(rows[host], hosts[host])
        },
        removed={host: rows[host] for host in sorted(rows.keys() - hosts.keys())},
    )


def _differs(row: Row, wanted: Row) -> bool:
    return row.version < wanted.version or replace(row, version=wanted.version) != wanted


def _entry(host: str, before: Row | None, after: Row | None) -> dict[str, Any]:
    was, will = _columns(before), _columns(after)
    if before is not None and after is not None:
        if before.version >= after.version:
            will["version"] = before.version  # its number is in order, and grows when it is written
        differing = [name for name in will if was[name] != will[name]]
        was, will = ({name: row[name] for name in differing} for row in (was, will))
    return {"host": host, "before": was or None, "after": will or None}


def _columns(row: Row | None) -> dict[str, Any]:
    if row is None:
        return {}
    return {
        "environment_id": row.environment_id,
        "project_id": row.project_id,
        "deployment_id": row.deployment_id,
        "targets": list(row.targets),
        "version": row.version,
    }
