"""What is missing, wrong or superfluous in routing_cache."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consumers.routing.difference import Row, difference

_ROW = Row(
    host="a.test",
    environment_id="env",
    project_id="prj",
    deployment_id="dep",
    targets=[{"instance_id": "ins", "host": "127.0.0.1", "port": 1}],
    version=4,
)


def compared(wanted: list[Row], present: list[Row]) -> dict[str, Any]:
    return difference(wanted, present).document()


def test_equal_tables_do_not_differ() -> None:
    assert compared([_ROW], [_ROW]) == {"added": [], "changed": [], "removed": []}


def test_a_newer_version_than_proxies_were_told_is_no_difference() -> None:
    assert compared([replace(_ROW, version=3)], [_ROW])["changed"] == []


def test_a_version_behind_what_proxies_were_told_is_one() -> None:
    (entry,) = compared([replace(_ROW, version=5)], [_ROW])["changed"]
    assert entry == {"host": "a.test", "before": {"version": 4}, "after": {"version": 5}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"targets": []},
        {"targets": [{"nonsense": True}]},
        {"deployment_id": None},
        {"environment_id": "another"},
        {"project_id": "another"},
    ],
)
def test_only_the_columns_that_differ_are_shown(wrong: dict[str, Any]) -> None:
    (entry,) = compared([_ROW], [replace(_ROW, **wrong)])["changed"]
    assert entry["before"] == wrong
    assert entry["after"].keys() == wrong.keys()


def test_missing_and_superfluous_hosts_are_told_apart() -> None:
    found = difference([_ROW, replace(_ROW, host="b.test")], [replace(_ROW, host="c.test"), _ROW])
    assert (list(found.added), list(found.removed)) == (["b.test"], ["c.test"])
