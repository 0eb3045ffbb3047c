"""Real HTTP/1.1 instances on loopback, scripted byte by byte; and the wire that both sides read.

Reads and framing are written anew here, apart from the product's: the two must agree on the wire.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events.routes import Target

SECONDS = 15.0  # bounds every read; never asserted
_LIMIT = 1 << 20
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Head:
    """A start line and fields, names in lower case, in order."""

    start: str
    fields: list[tuple[str, str]]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def one(self, name: str) -> str | None:
        """The value of a field that may come once."""
        values = self.all(name)
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


@dataclass(frozen=True)
class Message:
    """A whole message."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status


class Wire:
    """One end of a TCP connection that speaks HTTP/1.1 as the test says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(SECONDS):
            await self._writer.drain()

    def send_unread(self, data: bytes) -> None:
        """Leave it to the system when the bytes go out."""
        self._writer.write(data)

    async def head(self) -> Head:
        """The next head; EOFError when the peer closed in order and sent none."""
        async with asyncio.timeout(SECONDS):
            raw = await self._reader.readuntil(b"\r\n\r\n")
        start, *lines = raw[:-4].decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return Head(start, [(name.lower(), value.strip()) for name, _, value in pairs])

    async def read(self, count: int = 65536) -> bytes:
        """What is there, up to `count` bytes; empty at the end."""
        async with asyncio.timeout(SECONDS):
            return await self._reader.read(count)

    async def exactly(self, count: int) -> bytes:
        async with asyncio.timeout(SECONDS):
            return await self._reader.readexactly(count)

    async def chunk(self) -> bytes:
        """The next chunk; empty for the last."""
        size = int(await self._line(), 16)
        data = await self.exactly(size) if size else b""
        assert await self._line() == b""
        return data

    async def body(self, head: Head) -> bytes:
        """The body that the head announces; without a length, none."""
        if head.one("transfer-encoding") == "chunked":
            assert head.one("content-length") is None
            pieces = []
            while piece := await self.chunk():
                pieces.append(piece)
            return b"".join(pieces)
        return await self.exactly(int(head.one("content-length") or 0))

    async def message(self) -> Message:
        head = await self.head()
        return Message(head, await self.body(head))

    async def rest(self) -> bytes:
        """Everything up to the end; ConnectionResetError if that is a reset."""
        pieces = []
        while piece := await self.read():
            pieces.append(piece)
        return b"".join(pieces)

    async def gone(self) -> None:
        """Return when the peer has closed or reset; fails if it sends something."""
        with contextlib.suppress(ConnectionError):
            assert await self.read() == b""

    def finish(self) -> None:
        """Send FIN, and read on."""
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _line(self) -> bytes:
        async with asyncio.timeout(SECONDS):
            return (await self._reader.readuntil(b"\r\n"))[:-2]


Script = Callable[[Wire], Awaitable[None]]


@dataclass
class Instance:
    """A listening instance; `visits` holds the connections it got."""

    target: Target
    visits: list[Wire] = field(default_factory=list)


@asynccontextmanager
async def instance(script: Script, *, host: str = "127.0.0.1") -> AsyncIterator[Instance]:
    """An instance that runs `script` for each connection, and closes behind it.

    A script that fails (but for a peer that left) fails the block.
    """
    failures: list[Exception] = []
    tasks: set[asyncio.Task[None]] = set()

    async def run(wire: Wire) -> None:
        try:
            await script(wire)
        except (EOFError, ConnectionError):
            pass
        except Exception as failure:  # noqa: BLE001 - raised at the end of the block
            failures.append(failure)
        finally:
            wire.close()

    def visited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        served.visits.append(wire)
        task = asyncio.ensure_future(run(wire))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(visited, host, 0, limit=_LIMIT)
    port = server.sockets[0].getsockname()[1]
    served = Instance(Target(instance_id=f"ins_{next(_numbers)}", host=host, port=port))
    try:
        yield served
    finally:
        server.close()
        remaining = [*tasks]
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        await server.wait_closed()
    if failures:
        raise failures[0]


def refusing() -> Target:
    """A target where nothing listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    return Target(instance_id=f"ins_{next(_numbers)}", host="127.0.0.1", port=port)


def respond(body: bytes = b"", *, status: str = "200 OK", fields: str = "") -> bytes:
    """A response of known length; each of `fields` ends in CRLF."""
    head = f"HTTP/1.1 {status}\r\n{fields}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def answering(answer: Callable[[Message], bytes]) -> Script:
    """A script that answers each request of a connection, read whole."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.send(answer(await wire.message()))

    return script


def saying(body: bytes) -> Script:
    """A script that gives every request the same answer."""
    return answering(lambda _: respond(body))
