"""Ranges of versions, as npm understands them."""

from __future__ import annotations

import pytest

from consumers.builds.builders.node_range import admits


@pytest.mark.parametrize(
    "wanted",
    ["20", "v20.1.0", "20.x", "20.1.X", "*", "", "^20", "^20.0.5", "~20.1", "~20.1.0", ">=18",
     ">= 18 < 21", ">=18,<21", "18 || 20", "18 - 20", "18.0.0 - 20.1.0", ">19", "<=20", "<=20.1",
     "=20.1.0", "20.1.0-nightly.1"],
)  # fmt: skip
def test_a_version_that_is_wanted(wanted: str) -> None:
    assert admits(wanted, "20.1.0") is True


@pytest.mark.parametrize(
    "wanted",
    ["18", "20.0", "20.2.x", "^18 || ^22", "^20.2", "~20.0.9", "<20", ">20", ">20.1.0", "<=20.0",
     ">=18 <20", "18 - 19", "20.1.1", "^0.20"],
)  # fmt: skip
def test_a_version_that_is_not_wanted(wanted: str) -> None:
    assert admits(wanted, "20.1.0") is False


@pytest.mark.parametrize(
    ("wanted", "version", "verdict"),
    [("^0.2.3", "0.2.9", True), ("^0.2.3", "0.3.0", False), ("^0.0.3", "0.0.4", False)],
)
def test_a_caret_keeps_the_first_number_that_is_not_zero(
    wanted: str, version: str, *, verdict: bool
) -> None:
    assert admits(wanted, version) is verdict


@pytest.mark.parametrize(
    "wanted", ["lts/*", "node", "latest", "20 || lts/iron", "1" * 5000, ">=<1"]
)
def test_what_is_no_range_is_not_judged(wanted: str) -> None:
    assert admits(wanted, "20.1.0") is None
