"""`make test-planted`: plants each bug in a copy of the tree, and expects its one test to fail.

A test that has never been seen to fail proves nothing, and neither does one that fails anyway. Each
patch names its test in a line `Test: …`, and in a line `Expect: …` words of its complaint, as a
regular expression. The test has to pass in a copy without the patch, and to fail with those words
in a copy with it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_SECONDS = 300.0
_MOST = 3000  # characters of a test's output to show
_PASSED = 0
_FAILED = 1  # pytest's exit code for tests that ran and failed
_SKIPPED = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class Planted:
    """A bug, the test that finds it, and words of what that test then says."""

    path: Path
    why: str
    test: str
    expected: str

    @property
    def name(self) -> str:
        return self.path.stem

    def apply(self, tree: Path) -> None:
        """Plant it.

        Raises:
            AssertionError: the code has moved on, and the patch has to follow.
        """
        done = _run("git", "apply", "--whitespace=nowarn", str(self.path), tree=tree)
        assert done.returncode == 0, f"{self.name} does not apply: {done.stderr}"


def planted() -> list[Planted]:
    """Every patch beside this file."""
    found = []
    for path in sorted(Path(__file__).parent.glob("*.patch")):
        why, test, expected, *_ = path.read_text().splitlines()
        found.append(Planted(path, why, _after("Test: ", test), _after("Expect: ", expected)))
    return found


def _after(label: str, line: str) -> str:
    assert line.startswith(label), f"{line!r} does not start with {label!r}"
    return line.removeprefix(label)


def copied(target: Path) -> Path:
    """A copy of the tree, with our environment."""
    shutil.copytree(ROOT, target, ignore=lambda _, names: [one for one in names if one in _SKIPPED])
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target


def main(names: list[str]) -> int:
    """Report on each bug; 1 unless every one was found."""
    bugs = [bug for bug in planted() if not names or bug.name in names]
    if unknown := {*names} - {bug.name for bug in bugs}:
        print(f"no such patch: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    sound: dict[str, Ran] = {}
    missed = 0
    for bug in bugs:
        if bug.test not in sound:
            sound[bug.test] = _try(bug.test)
        wrong = unsound(sound[bug.test]) or escape(bug, _try(bug.test, bug))
        print(f"{'MISSED ' if wrong else 'found  '}  {bug.name}: {bug.why}", flush=True)
        print(f"         {wrong or bug.expected}", flush=True)
        missed += bool(wrong)
    print(f"{len(bugs) - missed} of {len(bugs)} found; {len(sound)} tests ran without a bug first")
    return 1 if missed else 0


@dataclass(frozen=True)
class Ran:
    """How a test ended; no code when it did not end in time."""

    code: int | None
    output: str

    @property
    def complaint(self) -> str:
        """What the test said, without the source around it."""
        return "\n".join(line for line in self.output.splitlines() if line.startswith("E  "))


def _try(test: str, bug: Planted | None = None) -> Ran:
    """Run it in a copy of the tree, which has the bug if one is given."""
    with tempfile.TemporaryDirectory(prefix="zeitwork-planted-") as directory:
        tree = copied(Path(directory) / "tree")
        if bug is not None:
            bug.apply(tree)
        try:
            done = _run(
                sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "",
                test, tree=tree,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Ran(None, f"not done within {_SECONDS:g} s")
    return Ran(done.returncode, done.stdout + done.stderr)


def unsound(ran: Ran) -> str:
    """Why a test proves nothing: it does not pass as things are. Empty when it does."""
    if ran.code == _PASSED and "1 passed" in ran.output:  # a skipped one ends with 0, too
        return ""
    return f"its test does not pass without it (exit code {ran.code}):\n{ran.output[-_MOST:]}"


def escape(bug: Planted, ran: Ran) -> str:
    """How the bug got by its test; empty when it did not."""
    if ran.code == _FAILED and re.search(bug.expected, ran.complaint):
        return ""
    if ran.code == _FAILED:
        return f"its test fails without saying {bug.expected!r}:\n{ran.complaint[-_MOST:]}"
    return f"its test does not fail (exit code {ran.code}):\n{ran.output[-_MOST:]}"


def _run(*argv: str, tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=tree, capture_output=True, text=True, timeout=_SECONDS, check=False
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
