"""Every answer of the edge has a code of its own, and its line in the reference."""

from __future__ import annotations

import re
from pathlib import Path

from proxy import refusals

_REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "edge-refusals.md"
_LINE = r"^\| (\d{3}) \| `(\w+)` \| (.+?) \| (\w+) \| (closes|stays) \| (yes|no) \|$"


def test_the_reference_says_what_the_code_says() -> None:
    said = re.findall(_LINE, _REFERENCE.read_text(), re.MULTILINE)
    assert said == [
        (
            str(each.status),
            each.code,
            each.detail,
            each.category.value,
            "closes" if each.closes else "stays",
            "yes" if each.retry_after is not None else "no",
        )
        for each in refusals.table()
    ]


def test_no_two_answers_share_a_code() -> None:
    codes = [each.code for each in refusals.table()]
    assert len(set(codes)) == len(codes) > 25
