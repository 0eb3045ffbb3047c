"""A fresh clone's `make run` → the first URL, on a warm package cache.

`python -m tests.benchmarks.first_run`
"""

from __future__ import annotations

import os
import platform as host
import tempfile
import time
from pathlib import Path

from tests.support.first_run import first_run


def main() -> None:
    print(f"{host.platform()}, Python {host.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as directory:
        with first_run(Path(directory), _environment()) as run:
            url = run.url()
            print(f"make run, fresh clone → {url}: {time.monotonic() - run.began:.1f} s")
        said = run.progress().splitlines()
        print("\n".join(f"  {line}" for line in said if "after its push" in line))


def _environment() -> dict[str, str]:
    """Without the variables of the `make` that runs this: they would reach the clone's."""
    ours = ("ZEITWORK_", "OTEL_", "MAKE", "MFLAGS", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


if __name__ == "__main__":
    main()
