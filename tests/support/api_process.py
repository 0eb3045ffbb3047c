"""`zeitwork serve api` as a process that a test can kill."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from events import streams
from tests.support.api import API_TOKEN, NODE_TOKEN, WEBHOOK_SECRET
from tests.support.servers import free_port

_ROOT = Path(__file__).parents[2]
_OK = 200


class ApiProcess:
    """One replica on ports of its own."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self.port, self._ops_port = free_port(), free_port()
        self._log = directory / f"api-{self.port}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", "api"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=_ROOT,
                env={
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "HOME": "/nonexistent",
                    "ZEITWORK_DATA_DIR": str(directory),
                    "ZEITWORK_API_TOKEN": API_TOKEN,
                    "ZEITWORK_NODE_TOKEN": NODE_TOKEN,
                    "ZEITWORK_GITHUB_WEBHOOK_SECRET": WEBHOOK_SECRET,
                    "ZEITWORK_API__PORT": str(self.port),
                    "ZEITWORK_API__OPS_PORT": str(self._ops_port),
                    **settings,
                },
            )

    def readiness(self) -> tuple[int, str]:
        """What /readyz says; (0, "") while nobody listens."""
        assert self._process.poll() is None, self.log()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ops_port}/readyz") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def is_ready(self) -> bool:
        return self.readiness()[0] == _OK

    def is_relaying(self) -> bool:
        """It has held the lock of every lane."""
        return self.log().count("relay active") == len(streams.EMITTED)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL, if it still runs."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait(10)


@contextmanager
def api_process(directory: Path, **settings: str) -> Iterator[ApiProcess]:
    process = ApiProcess(directory, settings)
    try:
        yield process
    finally:
        process.kill()
