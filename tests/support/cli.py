"""`zeitwork` as a process of its own, as scripts call it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.api.routes import PREFIX
from tests.support.api import API_TOKEN, Api
from tests.support.platform import Finished

_SECONDS = 40.0
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Cli:
    """Calls `zeitwork` with an environment of its own."""

    env: Mapping[str, str]

    @classmethod
    def of(cls, api: Api, **env: str) -> Cli:
        """A client of the API that a test serves."""
        url = api.base.removesuffix(PREFIX)
        return cls({"ZEITWORK_API_URL": url, "ZEITWORK_API_TOKEN": API_TOKEN, **env})

    async def __call__(self, *arguments: str, typed: str | None = None) -> Finished:
        """Run it to its end; `typed` is what a person at a terminal types."""
        with _keyboard(typed) as stdin:
            async with self.started(*arguments, stdin=stdin) as process, asyncio.timeout(_SECONDS):
                out, err = await process.communicate()
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def started(
        self,
        *arguments: str,
        stdin: int = asyncio.subprocess.DEVNULL,
        stdout: int = asyncio.subprocess.PIPE,
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it for the block."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli.main", *arguments,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **self.env},
            cwd=_ROOT, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


@contextmanager
def _keyboard(typed: str | None) -> Iterator[int]:
    """A terminal's end for a process to read from, where something is typed; else nothing."""
    if typed is None:
        yield asyncio.subprocess.DEVNULL
        return
    person, terminal = os.openpty()
    try:
        os.write(person, typed.encode())
        yield terminal
    finally:
        os.close(terminal)
        os.close(person)


def problem(done: Finished) -> dict[str, Any]:
    """The one JSON document on stderr; nothing is on stdout."""
    assert done.out == ""
    (line,) = done.err.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert set(found) == {"code", "detail", "trace_id"}
    return found
