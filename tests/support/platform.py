"""A whole platform, started as a user starts it: `zeitwork up` on a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tests.support.servers import free_port

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class PlatformProcess:
    """`zeitwork up` as a child process."""

    def __init__(self, data: Path, *extra: str, **env: str) -> None:
        self.data = data
        self.env = {**_clean_environment(), **_ports(), **env}
        self._log = data.parent / f"{data.name}.up.log"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up", "--data", str(data), "--json", *extra],
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.env,
                start_new_session=True,
            )
        self.family: list[psutil.Process] = []
        self.facts = self._await_ready()
        self.family = self._family()

    @property
    def proxy_url(self) -> str:
        return str(self.facts["proxy_url"])

    @property
    def api_url(self) -> str:
        return str(self.facts["api_url"])

    def run(self, *arguments: str, timeout: float = 120.0) -> Finished:
        """Run a CLI command against this platform."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--data", str(self.data)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env=self.env,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.family = self._family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(_STOP_SECONDS)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it hard, with everything that it started."""
        for each in [*self._family(), *self.family]:
            try:
                each.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.kill()
        self.process.wait(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def left_behind(self) -> list[psutil.Process]:
        """Processes of this platform that still run."""
        return [each for each in self.family if each.is_running() and not _zombie(each)]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _await_ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        seen, deadline = b"", time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            seen += self.process.stdout.read() or b""
            if b"\n" in seen:
                return dict(json.loads(seen.split(b"\n", 1)[0]))
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the platform did not start:\n{self.log()[-6000:]}")


@contextmanager
def running(data: Path, *extra: str, **env: str) -> Iterator[PlatformProcess]:
    platform = PlatformProcess(data, *extra, **env)
    try:
        yield platform
    finally:
        platform.kill()


def _ports() -> dict[str, str]:
    """Ports at random, so that platforms that start at the same moment do not meet."""
    settings = (
        "API__PORT", "API__OPS_PORT", "CONSUMERS__OPS_PORT", "PROXY__PORT", "PROXY__OPS_PORT",
        "NODE__OPS_PORT",
    )  # fmt: skip
    return {f"ZEITWORK_{name}": str(free_port()) for name in settings}


def _zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ZEITWORK_", "OTEL_"))
    }
