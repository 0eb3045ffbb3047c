"""What the last lines of installers say; the lines are those that the tools print."""

from __future__ import annotations

import pytest

from consumers.builds.diagnosis import Ending, diagnose
from consumers.builds.failures import (
    BuildOutOfDisk,
    DependencyUnavailable,
    LockFileOutdated,
    NodeVersionMissing,
    PythonVersionMissing,
)
from zeitwork.errors import BuildCommandFailed, BuildFailed, BuildOutOfMemory

UV = "uv sync --locked"
OUT_OF_STEP = (
    "npm error `npm ci` can only install packages when your package.json and package-lock.json or "
    "npm-shrinkwrap.json are in sync. Please update your lock file with `npm install`"
)


def of(command: str, *lines: str, returncode: int = 1) -> BuildFailed:
    return diagnose(Ending(command, returncode, lines, 1024))


@pytest.mark.parametrize(
    ("command", "line", "failure", "advice"),
    [
        (
            UV,
            "error: The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.",
            LockFileOutdated,
            "Run `uv lock` and commit",
        ),
        (
            "npm ci",
            OUT_OF_STEP,
            LockFileOutdated,
            "Run `npm install` and commit",
        ),
        (
            UV,
            "      Because ours was not found in the package registry and you require ours, we can",
            DependencyUnavailable,
            "if it is private",
        ),
        ("npm ci", "npm error code E401", DependencyUnavailable, "Check its name"),
        ("npm ci", "npm error code E404", DependencyUnavailable, "Check its name"),
        (
            UV,
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            DependencyUnavailable,
            "if it is private",
        ),
        ("make", "OSError: [Errno 28] No space left on device", BuildOutOfDisk, "write less"),
        (
            "npm run build",
            "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
            BuildOutOfMemory,
            "1024 MiB",
        ),
        ("make", "MemoryError", BuildOutOfMemory, "ZEITWORK_CONSUMERS__BUILD_MEMORY_MIB"),
        ("npm ci", "npm error code EBADENGINE", NodeVersionMissing, "another Node.js"),
        (
            UV,
            "error: No interpreter found for Python >=3.14 in virtual environments",
            PythonVersionMissing,
            "Widen requires-python",
        ),
    ],
)
def test_a_cause_is_recognised(
    command: str, line: str, failure: type[BuildFailed], advice: str
) -> None:
    error = of(command, "before", line, "after")
    assert type(error) is failure
    assert line.strip()[:200] in error.message
    assert advice in error.message.removeprefix(f"`{command}` failed: {line}")


@pytest.mark.parametrize(
    ("returncode", "failure"),
    [(137, BuildOutOfMemory), (-9, BuildOutOfMemory), (153, BuildOutOfDisk), (-25, BuildOutOfDisk)],
)
def test_a_signal_is_a_cause_of_its_own(returncode: int, failure: type[BuildFailed]) -> None:
    assert type(of("make", returncode=returncode)) is failure


def test_what_ran_out_is_the_cause_of_what_broke_afterwards() -> None:
    error = of("npm ci", "npm error code ENOSPC", "npm error code E404")
    assert type(error) is BuildOutOfDisk


def test_the_kernels_word_comes_before_what_the_program_says() -> None:
    error = diagnose(Ending("npm ci", 1, ("npm error code E404",), 1024, out_of_memory=True))
    assert type(error) is BuildOutOfMemory


def test_anything_else_is_quoted() -> None:
    error = of("make", "cc: no such file", "", returncode=2)
    assert type(error) is BuildCommandFailed
    assert error.message == "`make` ended with exit code 2. Its last line was: cc: no such file"
    assert "signal 15" in of("make", returncode=143).message
    assert of("make").message == "`make` ended with exit code 1."
