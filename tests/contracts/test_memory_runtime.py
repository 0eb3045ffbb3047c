"""The in-memory runtime against the contract."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from node.runtimes.base import Runtime
from node.runtimes.memory import KILLED, MemoryRuntime, Program, Running
from tests.contracts.runtime import Later, RuntimeContract


class TestMemoryRuntime(RuntimeContract):
    """In process."""

    @pytest.fixture
    def runtime(self) -> Runtime:
        return MemoryRuntime(_programs())

    @pytest.fixture
    def later(self, runtime: Runtime) -> Later:
        return lambda: runtime

    @pytest.fixture
    def app(self, tmp_path: Path) -> Path:
        return tmp_path


def _programs() -> dict[str, Program]:
    async def serve(running: Running) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            body = json.dumps(dict(running.env)).encode()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", running.port)
        running.print("up")
        try:
            await running.terminated.wait()
        finally:
            server.close()
        running.print("bye")
        return 5

    async def deaf(running: Running) -> int:
        running.print("up")
        await asyncio.Event().wait()
        return KILLED

    async def exit_(running: Running) -> int:
        running.print("out")
        return 3

    return {"serve": serve, "deaf": deaf, "exit": exit_}
