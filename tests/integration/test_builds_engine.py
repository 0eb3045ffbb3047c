"""A Docker Engine that misbehaves: what it says last ends the build, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from consumers.builds.engine import Engine, EngineSettings, EngineUnavailable, Order, StepFailed
from consumers.builds.failures import ArtifactTooLarge, DockerfileInvalid

OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def answering(*pieces: bytes) -> AsyncIterator[Engine]:
    """An Engine that answers every request with these bytes, one after the other, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    place = await asyncio.to_thread(tempfile.mkdtemp, prefix="zw-")
    server = await asyncio.start_unix_server(serve, f"{place}/socket")
    try:
        yield Engine(EngineSettings(f"unix://{place}/socket"))
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.to_thread(shutil.rmtree, place)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def told(**record: object) -> bytes:
    return json.dumps(record).encode() + b"\r\n"


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "context").write_bytes(b"")
    return Order(tmp_path / "context", tag="t", memory_mib=64, arguments={})


async def test_output_is_put_together_whatever_the_pieces(order: Order) -> None:
    stream = told(stream="one\ntw") + told(stream="o\n") + told(aux={"ID": "sha256:1"})
    stream += told(stream="three")
    pieces = [chunk(bytes([byte])) for byte in stream]
    lines: list[str] = []
    async with answering(OK, *pieces, b"0\r\n\r\n") as engine:
        assert await engine.build(order, lines.append) == "sha256:1"
    assert lines == ["one", "two", "three"]


async def test_a_line_without_end_is_passed_on_in_parts(order: Order) -> None:
    pieces = [chunk(told(stream="x" * 1000)) for _ in range(100)]
    lines: list[str] = []
    async with answering(OK, *pieces, chunk(told(aux={"ID": "1"})), b"0\r\n\r\n") as engine:
        await engine.build(order, lines.append)
    assert sum(map(len, lines)) == 100_000
    assert max(map(len, lines)) < 20_000


async def test_a_step_that_fails_is_told_with_its_command(order: Order) -> None:
    said = "The command '/bin/sh -c a\nb' returned a non-zero code: 137"
    stream = told(stream="Step 2/3 : RUN a\n") + told(errorDetail={"message": said}, error=said)
    async with answering(OK, chunk(stream), b"0\r\n\r\n") as engine:
        with pytest.raises(StepFailed) as caught:
            await engine.build(order, lambda _: None)
    assert caught.value.instruction == "RUN"
    assert (caught.value.command, caught.value.returncode) == ("/bin/sh -c a\nb", 137)


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",),
        (b"SSH-2.0-OpenSSH\r\n\r\n",),
        (OK,),
        (OK, chunk(told(stream="one\n"))),
        (OK, chunk(told(stream="one\n")), b"0\r\n\r\n"),
        (OK, chunk(b"not JSON\n"), b"0\r\n\r\n"),
        (OK, chunk(b"[]\n"), b"0\r\n\r\n"),
        (OK, *[chunk(b"x" * 65536)] * 20),
    ],
    ids=["nothing", "500", "no HTTP", "cut", "cut later", "no end", "no JSON", "a list", "long"],
)
async def test_an_engine_that_breaks_off_is_tried_again_later(
    order: Order, pieces: tuple[bytes, ...]
) -> None:
    async with answering(*pieces) as engine:
        with pytest.raises(EngineUnavailable) as caught:
            await engine.build(order, lambda _: None)
    assert caught.value.retryable


async def test_what_the_engine_refuses_is_the_dockerfiles_fault(order: Order) -> None:
    body = b'{"message": "dockerfile parse error\\nline 1"}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with answering(head, body) as engine:
        with pytest.raises(DockerfileInvalid, match="dockerfile parse error line 1"):
            await engine.build(order, lambda _: None)


async def test_an_image_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    async with answering(OK, *[chunk(b"x" * 65536)] * 40) as engine:
        with pytest.raises(ArtifactTooLarge, match="larger than 1 MiB"):
            await engine.save("i", tmp_path / "saved", most_bytes=1 << 20)
    assert (tmp_path / "saved").stat().st_size <= 1 << 20
