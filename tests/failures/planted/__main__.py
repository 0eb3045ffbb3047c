"""`make test-planted`: plants each bug in a copy of the tree, and expects its one test to fail.

A test that has never been seen to fail proves nothing. Each patch names its test in a line
`Test: …`; that test has to pass without the patch and to fail with it.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
_SECONDS = 300.0
_FAILED = 1  # pytest's exit code for tests that ran and failed
_SKIPPED = {".git", ".venv", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"}


@dataclass(frozen=True)
class Planted:
    """A bug, and the test that finds it."""

    path: Path
    why: str
    test: str

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
        why, test, *_ = path.read_text().splitlines()
        found.append(Planted(path, why, test.removeprefix("Test: ")))
    return found


def copied(target: Path) -> Path:
    """A copy of the tree, with our environment."""
    shutil.copytree(ROOT, target, ignore=lambda _, names: [one for one in names if one in _SKIPPED])
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target


def run_test(tree: Path, test: str) -> subprocess.CompletedProcess[str]:
    arguments = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "", test)
    return _run(sys.executable, *arguments, tree=tree)


def main(names: list[str]) -> int:
    """Report on each bug; 1 when one was not found."""
    escaped = []
    for bug in planted():
        if names and bug.name not in names:
            continue
        with tempfile.TemporaryDirectory(prefix="zeitwork-planted-") as directory:
            tree = copied(Path(directory) / "tree")
            bug.apply(tree)
            done = run_test(tree, bug.test)
        found = done.returncode == _FAILED
        print(f"{'found  ' if found else 'ESCAPED'}  {bug.name}: {bug.why}", flush=True)
        if found:
            print(f"         {_complaint(done.stdout)}", flush=True)
        else:
            escaped.append(bug.name)
            print(done.stdout[-3000:] + done.stderr[-1000:], flush=True)
    return 1 if escaped else 0


def _complaint(output: str) -> str:
    """What the test said."""
    said = [line for line in output.splitlines() if line.startswith("E  ")]
    wanted = [line for line in said if "AssertionError" in line] or said or ["(no words)"]
    return wanted[-1].removeprefix("E").strip()[:200]


def _run(*argv: str, tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=tree, capture_output=True, text=True, timeout=_SECONDS, check=False
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
