"""Every way to fail has a code of its own, and a line in docs/reference/build-errors.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from consumers.builds import failures
from zeitwork.errors import BuildFailed, Category

_REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "build-errors.md"


def _classes(top: type[BuildFailed]) -> Iterator[type[BuildFailed]]:
    yield top
    for below in top.__subclasses__():
        yield from _classes(below)


def test_every_code_is_explained_and_none_besides() -> None:
    assert failures.NoStartCommand in _classes(BuildFailed)
    codes = [each.code for each in _classes(BuildFailed)]
    assert len(codes) == len(set(codes))
    of_builds = _REFERENCE.read_text().partition("# Why a version that was built")[0]
    explained = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", of_builds, re.MULTILINE)
    assert explained == sorted(codes)


def test_every_failure_is_the_applications_and_is_not_tried_again() -> None:
    for each in _classes(BuildFailed):
        assert each.category is Category.APPLICATION
        assert not each.retryable
