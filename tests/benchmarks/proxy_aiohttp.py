"""The proxy that aiohttp makes: `python -m tests.benchmarks.proxy_aiohttp PORT ORIGIN`."""

from __future__ import annotations

import sys

import aiohttp
import uvloop
from aiohttp import web

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}


def application(origin: str) -> web.Application:
    async def pass_on(request: web.Request) -> web.StreamResponse:
        body = request.content if request.can_read_body else None
        fields = {name: value for name, value in request.headers.items() if _kept(name)}
        async with session[0].request(
            request.method, f"{origin}{request.path_qs}", headers=fields, data=body
        ) as answer:
            response = web.StreamResponse(status=answer.status)
            response.headers.update({k: v for k, v in answer.headers.items() if _kept(k)})
            response.content_length = answer.content_length
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    async def opened(_app: web.Application) -> None:
        connector = aiohttp.TCPConnector(limit=0)
        session.append(aiohttp.ClientSession(connector=connector, auto_decompress=False))

    session: list[aiohttp.ClientSession] = []
    app = web.Application(client_max_size=0)
    app.on_startup.append(opened)
    app.router.add_route("*", "/{path:.*}", pass_on)
    return app


def _kept(name: str) -> bool:
    return name.lower() not in _HOP_BY_HOP


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        application(f"http://127.0.0.1:{sys.argv[2]}"),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        access_log=None,
        print=lambda *_: None,
    )
