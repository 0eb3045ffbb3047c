"""A client that sends signed push webhooks over keep-alive connections and times the answers.

Closed loop: every connection sends again as soon as it is answered. Open loop (`--rate`): arrivals
have fixed times whatever the server does, and count from the moment that was intended, so a stall
shows in every request that it delayed (no coordinated omission).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import uvloop
from typing_extensions import override

from producers.webhooks.signatures import sign
from tests.benchmarks.stage import tell
from tests.support.pushes import push_body

_COMMITS = 12  # a body of about 8 KiB, as pushes have
_DRAIN_SECONDS = 15.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--secret", required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="arrivals a second; 0 is as fast")
    parser.add_argument("--most", type=int, default=1_000_000, help="requests in all")
    uvloop.run(_run(parser.parse_args()))


class Tally:
    """What was answered, and when."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self.statuses: Counter[str] = Counter()

    def note(self, status: str, began: float) -> None:
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        self.statuses[status] += 1


class Connection(asyncio.Protocol):
    """One request at a time; `idle` is called when it can take the next."""

    def __init__(self, request: Callable[[], bytes], tally: Tally) -> None:
        self.idle: Callable[[Connection], None] = lambda _: None
        self.busy = False
        self._request = request
        self._tally = tally
        self._buffer = b""
        self._began = 0.0
        self._transport: Any = None

    def send(self, began: float) -> None:
        """Send a request whose time counts from `began`."""
        self.busy, self._began = True, began
        self._transport.write(self._request())

    def give_up(self) -> None:
        """Count a request that is still not answered as one that never was."""
        if self.busy:
            self._tally.note("not answered", self._began)
            self.busy = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self._tally.note("connection lost", self._began)
            self.busy = False

    @override
    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, separator, rest = self._buffer.partition(b"\r\n\r\n")
        if not separator or len(rest) < _length(head):
            return
        self._buffer, self.busy = b"", False
        self._tally.note(head[9:12].decode(), self._began)
        self.idle(self)


def _length(head: bytes) -> int:
    for each in head.split(b"\r\n"):
        name, _, value = each.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def requests(*, path: str, secret: str) -> Callable[[], bytes]:
    """Deliveries of one body, each with an id of its own."""
    plain = json.loads(push_body("bench/load", "a" * 40, "https://example.invalid/bench/load.git"))
    commit = {"id": "b" * 40, "message": "Change the wording of a page " * 15, "added": ["a.py"]}
    body = json.dumps({**plain, "commits": [commit] * _COMMITS}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nX-GitHub-Event: push\r\n"
        f"X-Hub-Signature-256: {sign(secret, body)}\r\nX-GitHub-Delivery: "
    ).encode()
    return lambda: b"%s%s\r\n\r\n%s" % (head, str(uuid.uuid4()).encode(), body)


async def _run(options: argparse.Namespace) -> None:
    tally = Tally()
    request = requests(path=options.path, secret=options.secret)
    loop = asyncio.get_running_loop()
    connections = [
        (
            await loop.create_connection(
                lambda: Connection(request, tally), "127.0.0.1", options.port
            )
        )[1]
        for _ in range(options.connections)
    ]
    began = time.perf_counter()
    if options.rate:
        late = await _open_loop(connections, rate=options.rate, seconds=options.seconds)
        for due in late:
            tally.note("never sent", due)
    else:
        await _closed_loop(connections, options)
    seconds = time.perf_counter() - began
    for each in connections:
        each.give_up()
    tell(
        {
            "seconds": seconds,
            "statuses": tally.statuses,
            "milliseconds": [round(each, 3) for each in tally.milliseconds],
        }
    )


async def _closed_loop(connections: list[Connection], options: argparse.Namespace) -> None:
    end = time.perf_counter() + options.seconds
    numbers = iter(range(options.most))

    def again(connection: Connection) -> None:
        now = time.perf_counter()
        if now < end and next(numbers, None) is not None:
            connection.send(now)

    for connection in connections:
        connection.idle = again
        again(connection)
    deadline = end + _DRAIN_SECONDS
    while any(each.busy for each in connections) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)


async def _open_loop(connections: list[Connection], *, rate: float, seconds: float) -> deque[float]:
    """Send at `rate`; when those were due that no connection was ever free for."""
    free, late = deque(connections), deque[float]()

    def idle(connection: Connection) -> None:
        if late:
            connection.send(late.popleft())
        else:
            free.append(connection)

    for connection in connections:
        connection.idle = idle
    began = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = began + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        if free:
            free.popleft().send(due)
        else:
            late.append(due)
    deadline = time.perf_counter() + _DRAIN_SECONDS
    while len(free) < len(connections) and time.perf_counter() < deadline:
        await asyncio.sleep(0.01)
    return late


if __name__ == "__main__":
    main()
