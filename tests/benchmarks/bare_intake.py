"""The peer of the webhook intake: aiohttp, the same HMAC, one INSERT, nothing else."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Awaitable, Callable

from aiohttp import web
from psycopg_pool import AsyncConnectionPool

from producers.webhooks.signatures import verify
from tests.benchmarks.stage import tell

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_POOL = 15  # as many as the API's pool may open


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--secret", required=True)
    asyncio.run(_serve(parser.parse_args()))


async def _serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    # Autocommit is the fastest that psycopg has for one statement: one round trip.
    async with AsyncConnectionPool(
        options.database, min_size=_POOL, max_size=_POOL, kwargs={"autocommit": True}
    ) as pool:
        await pool.wait()
        await _create(pool)
        app = web.Application()
        app.router.add_post("/", _handler(pool, options.secret))
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", options.port).start()
        tell("ready")
        await stop.wait()
        await runner.cleanup()


async def _create(pool: AsyncConnectionPool) -> None:
    async with pool.connection() as connection:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS bare_deliveries (guid text PRIMARY KEY, body bytea)"
        )


def _handler(pool: AsyncConnectionPool, secret: str) -> Handler:
    async def receive(request: web.Request) -> web.Response:
        body = await request.read()
        verify(secret, body, request.headers.get("X-Hub-Signature-256"))
        async with pool.connection() as connection:
            await connection.execute(
                "INSERT INTO bare_deliveries (guid, body) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (request.headers["X-GitHub-Delivery"], body),
            )
        return web.json_response({"outcome": "accepted"}, status=202)

    return receive


if __name__ == "__main__":
    main()
