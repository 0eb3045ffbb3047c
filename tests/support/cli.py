"""`zeitwork` as a process of its own, as scripts call it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
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

    async def __call__(self, *arguments: str) -> Finished:
        """Run it to its end."""
        async with self.started(*arguments) as process, asyncio.timeout(_SECONDS):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Finished(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def started(
        self, *arguments: str, stdout: int = asyncio.subprocess.PIPE
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Run it for the block."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cli.main", *arguments,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **self.env},
            cwd=_ROOT, stdout=stdout, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


def problem(done: Finished) -> dict[str, Any]:
    """The one JSON document on stderr; nothing is on stdout."""
    assert done.out == ""
    (line,) = done.err.splitlines()
    found: dict[str, Any] = json.loads(line)
    assert set(found) == {"code", "detail", "trace_id"}
    return found
