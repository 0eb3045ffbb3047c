"""A replay's report as its reader sees it."""

from __future__ import annotations

from typing import Any

from cli.rebuild import difference_lines
from cli.replay import lines

_EVENT: dict[str, Any] = {
    "id": "evt_1",
    "type": "instance.ready",
    "time": "2026-01-01T10:00:00.123456+00:00",
    "subject": "ins_1",
    "outcome": "done",
}


def shown(**changes: Any) -> list[str]:
    return [line.plain for line in lines({"events": [{**_EVENT, **changes}]})]


def row(what: str, **columns: tuple[Any, Any]) -> dict[str, Any]:
    both = {name: {"before": b, "after": a} for name, (b, a) in columns.items()}
    return {"table": "routing_cache", "key": {"host": "a.test"}, "what": what, "columns": both}


def test_an_update_shows_before_and_after() -> None:
    assert shown(rows=[row("update", version=(1, 2), targets=([], [{"port": 1}]))]) == [
        "10:00:00.123 instance.ready ins_1 → done",
        "  ~ routing_cache host=a.test",
        "      version: 1 → 2",
        '      targets: [] → [{"port": 1}]',
    ]


def test_inserts_and_deletions_show_the_values_that_there_are() -> None:
    made = shown(rows=[row("insert", host=(None, "a.test"), version=(None, 1))])
    gone = shown(rows=[row("delete", host=("a.test", None), version=(7, None))])
    assert made[1:] == ["  + routing_cache host=a.test", "      version: 1"]
    assert gone[1:] == ["  - routing_cache host=a.test", "      version: 7"]


def test_what_would_be_emitted_and_what_was_refused_are_told() -> None:
    emitted = [{"type": "route.changed", "subject": "env_1", "data": {"a": 1}}]
    refused = [{"effect": "cache.put", "table": "routes"}]
    assert shown(emitted=emitted, refused=refused)[1:] == [
        '  » route.changed env_1 {"a": 1}',
        '  ✗ refused cache.put {"table": "routes"}',
    ]


def test_a_failure_says_why_and_foreign_text_cannot_move_the_cursor() -> None:
    (line,) = shown(outcome="failed", reason="conflict: \x1b[2Jgone")
    assert line == "10:00:00.123 instance.ready ins_1 → failed (conflict: gone)"


def test_a_routing_difference_names_each_host_once() -> None:
    found: dict[str, Any] = {
        "added": [{"host": "new.test", "before": None, "after": {"targets": [], "version": 0}}],
        "changed": [{"host": "b.test", "before": {"targets": []}, "after": {"targets": [1]}}],
        "removed": [{"host": "old.test", "before": {"version": 3}, "after": None}],
    }
    assert [line.plain for line in difference_lines(found)] == [
        "+ new.test",
        "    targets: []",
        "    version: 0",
        "~ b.test",
        "    targets: [] → [1]",
        "- old.test",
        "    version: 3",
    ]
