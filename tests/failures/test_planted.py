"""The planted bugs fit the code and name tests that exist; `make test-planted` runs them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.failures.planted.__main__ import ROOT, Planted, Ran, escape, planted, unsound

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
    where, _, name = test.partition("[")[0].rpartition("::")
    # A class takes its tests from the contract, which lies beside it.
    files = (ROOT / path).parent.glob("*.py") if where else [ROOT / path]
    assert where in (ROOT / path).read_text()
    assert any(f"def {name}(" in each.read_text() for each in files)
    assert bug.why.endswith(".")
    assert bug.expected.strip()


def test_only_a_complaint_with_the_expected_words_finds_a_bug() -> None:
    bug = Planted(Path("lost.patch"), "It loses a push.", "tests/x.py::test_x", "has no delivery")
    said = "E       AssertionError: I1 guid was acknowledged and has no delivery\n1 failed"
    assert escape(bug, Ran(1, said)) == ""
    assert "without saying" in escape(bug, Ran(1, "E       OSError: no server\n1 failed"))
    assert "without saying" in escape(bug, Ran(1, 'raise AssertionError("has no delivery")'))
    assert "does not fail" in escape(bug, Ran(0, "1 passed in 1.00s"))
    assert "does not fail" in escape(bug, Ran(2, said))
    assert "does not fail" in escape(bug, Ran(None, "not done within 300 s"))


def test_a_test_that_does_not_pass_without_a_bug_proves_nothing() -> None:
    assert unsound(Ran(0, "1 passed in 1.00s")) == ""
    assert unsound(Ran(0, "1 skipped in 1.00s"))
    assert unsound(Ran(1, "1 failed in 1.00s"))
    assert unsound(Ran(5, "no tests ran in 1.00s"))
    assert unsound(Ran(None, "not done within 300 s"))
