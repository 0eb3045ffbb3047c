"""The planted bugs fit the code and name tests that exist; `make test-planted` runs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.failures.planted.__main__ import ROOT, Planted, planted

_BUGS = planted()


@pytest.mark.parametrize("bug", _BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_can_be_planted(bug: Planted, tmp_path: Path) -> None:
    """Only the files that it changes are copied; all of them must be the product's."""
    changed = re.findall(r"^\+\+\+ b/(.+)$", bug.path.read_text(), re.MULTILINE)
    assert changed
    for name in changed:
        assert not name.startswith("tests/")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    bug.apply(tmp_path)
    assert all((tmp_path / name).read_text() != (ROOT / name).read_text() for name in changed)
    for name in changed:
        compile((tmp_path / name).read_text(), name, "exec")


@pytest.mark.parametrize("bug", _BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_names_a_test_that_there_is(bug: Planted) -> None:
    path, _, test = bug.test.partition("::")
    name = test.partition("[")[0]
    assert f"def {name}(" in (ROOT / path).read_text()
    assert bug.why.endswith(".")
