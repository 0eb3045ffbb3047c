"""Who sends webhooks and remembers what was acknowledged: the only witness that is not on trial."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from producers.webhooks.signatures import sign
from tests.failures.history import Push
from tests.support.eventually import eventually
from tests.support.pushes import push_body
from zeitwork.service import cancel, spawn

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_AGAIN_SECONDS = 0.1
_PATIENCE_SECONDS = 60.0


class Sender:
    """Delivers signed pushes, each until it is acknowledged, with one id however often.

    GitHub itself does not repeat; whoever presses "redeliver" sends the same id again.
    """

    def __init__(self, api_url: str, *, secret: str, repo: str, clone_url: str) -> None:
        self._url = f"{api_url}/api/v1/webhooks/github"
        self._secret = secret
        self._repo = repo
        self._clone_url = clone_url
        self._pushes: dict[str, Push] = {}
        self._unsent: set[asyncio.Task[None]] = set()
        self.attempts = 0
        self.failures = 0

    @property
    def pushes(self) -> list[Push]:
        """What was acknowledged."""
        return [*self._pushes.values()]

    def push(self, sha: str, *, ref: str = "refs/heads/main") -> None:
        """Begin to deliver a push of a commit."""
        task = spawn(self._deliver(sha, ref), "push")
        self._unsent.add(task)

    async def until_acknowledged(self, count: int) -> None:
        """So many pushes have been acknowledged."""
        await eventually(lambda: len(self._pushes) >= count, timeout=_PATIENCE_SECONDS)

    async def finish(self) -> None:
        """Everything that was begun is acknowledged.

        Raises:
            TimeoutError: the API did not come back.
        """
        unsent = [*self._unsent]
        self._unsent.clear()
        await asyncio.gather(*unsent)

    @asynccontextmanager
    async def load(self, *, per_second: float, most: int) -> AsyncIterator[None]:
        """Pushes at a bounded rate while the block runs; their commits exist nowhere.

        Their builds fail at the fetch, which is quick, and takes the same way as every other.
        """
        loading = spawn(self._load(1 / per_second, most), "load")
        try:
            yield
        finally:
            await cancel(loading)

    async def _load(self, pause: float, most: int) -> None:
        for number in itertools.islice(itertools.count(1), most):
            self.push(
                f"{number:040x}", ref="refs/heads/main" if number % 4 == 1 else "refs/heads/x"
            )
            await asyncio.sleep(pause)

    async def _deliver(self, sha: str, ref: str) -> None:
        guid = str(uuid.uuid4())
        body = push_body(self._repo, sha, self._clone_url, ref=ref)
        headers = {
            "Content-Type": "application/json",
            "X-GitHub-Event": "push",
            "X-GitHub-Delivery": guid,
            "X-Hub-Signature-256": sign(self._secret, body),
        }
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await self._accepted(headers, body):
                await asyncio.sleep(_AGAIN_SECONDS)
        self._pushes[guid] = Push(guid, sha, deploys=ref == "refs/heads/main")

    async def _accepted(self, headers: dict[str, str], body: bytes) -> bool:
        self.attempts += 1
        try:
            async with (
                aiohttp.ClientSession(timeout=_TIMEOUT) as session,
                session.post(self._url, data=body, headers=headers) as answer,
            ):
                await answer.read()
                accepted = answer.status == 202
        except (aiohttp.ClientError, TimeoutError):
            accepted = False
        self.failures += not accepted
        return accepted
