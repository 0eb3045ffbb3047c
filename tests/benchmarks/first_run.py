"""A fresh clone's `make run` → the first URL, on a warm package cache.

`python -m tests.benchmarks.first_run`
"""

from __future__ import annotations

import os
import platform as host
import signal
import subprocess
import tempfile
import time
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_DEADLINE_SECONDS = 300.0
_STOP_SECONDS = 60.0
_POLL_SECONDS = 0.02


def main() -> None:
    print(f"{host.platform()}, Python {host.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as directory:
        clone = Path(directory) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(_ROOT), str(clone)], check=True)
        began = time.perf_counter()
        with (Path(directory) / "stderr").open("wb") as progress:
            process = subprocess.Popen(
                ["make", "run", f"ARGS=--data {directory}/data"],
                cwd=clone,
                env=_environment(),
                stdout=subprocess.PIPE,
                stderr=progress,
                start_new_session=True,
            )
        try:
            url = _first_url(process, began + _DEADLINE_SECONDS)
            print(f"make run, fresh clone → {url}: {time.perf_counter() - began:.1f} s")
        finally:
            os.killpg(process.pid, signal.SIGINT)  # what Ctrl-C does
            process.communicate(timeout=_STOP_SECONDS)
        lines = (Path(directory) / "stderr").read_text().splitlines()
        print("\n".join(f"  {line}" for line in lines if "after its push" in line))


def _first_url(process: subprocess.Popen[bytes], deadline: float) -> str:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said = b""
    while time.perf_counter() < deadline and process.poll() is None:
        said += process.stdout.read() or b""
        for line in said.decode().splitlines():
            if line.startswith("example "):
                return line.removeprefix("example ").strip()
        time.sleep(_POLL_SECONDS)
    raise AssertionError("make run printed no URL")


def _environment() -> dict[str, str]:
    """Without the variables of the `make` that runs this: they would reach the clone's."""
    ours = ("ZEITWORK_", "OTEL_", "MAKE", "MFLAGS", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


if __name__ == "__main__":
    main()
