"""The application behind every measured proxy: answers of a size that the path names.

`python -m tests.benchmarks.proxy_origin PORT`. It must not be what limits the fastest peer, so it
does no more than find the ends of requests.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop
from typing_extensions import override

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


def answer(size: int) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n" % size
    return head + b"x" * size


_ANSWERS = {b"/%d" % size: answer(size) for size in (2, 1 << 10, 1 << 16, 1 << 20)}


class Origin(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._held = b""
        self._body = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        data = self._held + data
        while data:
            if self._body:
                taken = min(self._body, len(data))
                self._body -= taken
                data = data[taken:]
                if not self._body:
                    self._transport.write(_ANSWERS[b"/2"])
                continue
            end = data.find(_END)
            if end < 0:
                break
            head, data = data[:end].lower(), data[end + len(_END) :]
            at = head.find(_LENGTH)
            if at < 0:
                self._transport.write(_ANSWERS[head.split(b" ", 2)[1]])
            else:
                self._body = int(head[at + len(_LENGTH) :].split(b"\r\n", 1)[0])
        self._held = data


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Origin, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
