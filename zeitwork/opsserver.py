"""The small HTTP listener of each process: /livez, /readyz, /metrics.

Liveness never asks a dependency: it only shows that the event loop turns. Readiness asks every
service of the process and names the first reason why not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from zeitwork import metrics

Ready = Callable[[], Awaitable[str | None]]


class OpsServer:
    """Serves the operator's endpoints on an address of its own, apart from the public ones."""

    name = "ops"

    def __init__(self, *, host: str, port: int, ready: Ready) -> None:
        self._host = host
        self._port = port
        self._ready = ready
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def ready(self) -> str | None:
        return None if self._runner is not None else "not started"

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _livez(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        reason = await self._ready()
        if reason is None:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "unready", "reason": reason}, status=503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        metrics.READY.set(await self._ready() is None)
        body, content_type = metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": content_type})
