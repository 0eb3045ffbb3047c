"""The fake GitHub as a process of its own, started and talked to as its README says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers import free_port
from zeitwork.config import GitHubSettings

_SECONDS = 60.0


@dataclass
class GitHubProcess:
    """Its process, what it printed so far, and the settings among that."""

    process: subprocess.Popen[bytes]
    printed: str = ""
    env: dict[str, str] = field(default_factory=dict)
    installation: str = ""

    @property
    def settings(self) -> GitHubSettings:
        url = self.env["ZEITWORK_GITHUB__API_URL"]
        return GitHubSettings(
            app_id=self.env["ZEITWORK_GITHUB__APP_ID"],
            private_key_file=Path(self.env["ZEITWORK_GITHUB__PRIVATE_KEY_FILE"]),
            api_url=url,
            web_url=self.env["ZEITWORK_GITHUB__WEB_URL"],
        )

    def read_settings(self) -> None:
        banner = self.until("Enter pushes")
        for line in banner.splitlines():
            if line.startswith("export "):
                for pair in line.removeprefix("export ").split():
                    name, _, value = pair.partition("=")
                    self.env[name] = value
            if line.startswith("# installation "):
                self.installation = line.split()[2]

    def type(self, line: str, *, until: str) -> str:
        """Type a line; what is printed then, up to the line that holds `until`."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()
        return self.until(until)

    def until(self, said: str) -> str:
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        start, deadline = len(self.printed), time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            self.printed += (self.process.stdout.read() or b"").decode()
            found = self.printed.find(said, start)
            if found >= 0 and "\n" in self.printed[found:]:
                return self.printed[start:]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{said!r} was not printed:\n{self.printed}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)


@contextmanager
def github_process(*repositories: Path, key: Path, api_port: int) -> Iterator[GitHubProcess]:
    webhook = f"http://127.0.0.1:{api_port}/api/v1/webhooks/github"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "examples.fake_github", *map(str, repositories),
            "--port", str(free_port()), "--webhook", webhook, "--key", str(key),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        started = GitHubProcess(process)
        started.read_settings()
        yield started
    finally:
        process.kill()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
