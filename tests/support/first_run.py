"""The first thing that a user does: clone the repository, and `make run`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
_LIVE_SECONDS = 300.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02


class FirstRun:
    """`make run` in a fresh clone of the repository as it is committed.

    Its data is below `directory`, and not where this user keeps that of a platform of their own.

    Attributes:
        began: when the command was given, on `time.monotonic`.
        family: the processes that there were when it was interrupted, itself among them.
    """

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.data = directory / "data"
        clone = directory / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        self.family: list[psutil.Process] = []
        self._progress = directory / "stderr"
        self.began = time.monotonic()
        with self._progress.open("wb") as progress:
            self._process = subprocess.Popen(
                ["make", "run", f"ARGS=--data {self.data}"],
                cwd=clone,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=progress,
                start_new_session=True,
            )

    def url(self) -> str:
        """Wait for the first URL that it prints.

        Raises:
            AssertionError: there was none within five minutes.
        """
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        deadline = time.monotonic() + _LIVE_SECONDS
        said = b""
        while time.monotonic() < deadline and self._process.poll() is None:
            said += self._process.stdout.read() or b""
            for line in said.decode().splitlines(keepends=True):
                if line.startswith("example ") and line.endswith("\n"):
                    return line.removeprefix("example ").strip()
            time.sleep(_POLL_SECONDS)
        raise AssertionError(f"make run printed no URL:\n{self.progress()[-6000:]}")

    def progress(self) -> str:
        """What it said while it installed and started."""
        return self._progress.read_text(errors="replace")

    def interrupt(self) -> None:
        """Ctrl-C, which reaches the whole group, and wait for its end."""
        self.family = self._relatives()
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.communicate(timeout=_STOP_SECONDS)

    def left(self) -> list[str]:
        """What it had started and still runs, by name."""
        return [each.name() for each in self.family if _runs(each)]

    def end(self) -> None:
        """Leave nothing running, however it went."""
        try:
            if self._process.poll() is None:
                self.interrupt()
        finally:
            for each in self.family:
                if _runs(each):
                    each.kill()

    def _relatives(self) -> list[psutil.Process]:
        """It, and everything that it started."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]


def _runs(process: psutil.Process) -> bool:
    """False also when it has ended, and only its parent has not been told."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def first_run(directory: Path, env: Mapping[str, str]) -> Iterator[FirstRun]:
    run = FirstRun(directory, env)
    try:
        yield run
    finally:
        run.end()
