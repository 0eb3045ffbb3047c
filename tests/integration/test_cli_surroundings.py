"""The command line where something around it is missing, wrong, or goes away."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.exits import Exit
from db.session import UnitOfWork
from events import subjects
from events.bus import Message
from events.memory import MemoryBus
from tests.support.api import Api
from tests.support.cli import Cli, problem
from tests.support.factories import add_site, push
from tests.support.servers import free_port


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[Cli]:
    """A client of a server that says `raw` to every request, and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield Cli({"ZEITWORK_API_URL": f"http://{host}:{port}", "ZEITWORK_API_TOKEN": "t"})
    finally:
        server.close()
        await server.wait_closed()


def http(status: str, body: bytes, *, length: int | None = None, kind: str = "text/html") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length or len(body)}"
    return f"{head}\r\nConnection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("raw", "code", "said"),
    [
        (http("200 OK", b"<html>"), Exit.UNAVAILABLE, "is not the API of Zeitwork"),
        (http("200 OK", b"{", kind="application/json"), Exit.UNAVAILABLE, "is not the API"),
        (http("200 OK", b"{", length=99, kind="application/json"), Exit.UNAVAILABLE, "broke off"),
        (http("502 Bad Gateway", b"<html>"), Exit.UNAVAILABLE, "answers with status 502"),
        (http("404 Not Found", b"[]"), Exit.NOT_FOUND, "answers with status 404"),
        (b"SSH-2.0-OpenSSH\r\n", Exit.UNAVAILABLE, "is not the API"),
        (b"", Exit.UNAVAILABLE, "does not answer"),
    ],
)
async def test_whatever_answers_instead_of_the_api_is_told_in_words(
    raw: bytes, code: Exit, said: str
) -> None:
    async with answering(raw) as cli:
        done = await cli("projects", "show", "x", "--json")
    assert done.code == code
    assert said in problem(done)["detail"]


async def test_no_platform_is_told_with_what_to_do(tmp_path: Path) -> None:
    cli = Cli({"ZEITWORK_DATA_DIR": str(tmp_path)})
    for command in (["projects", "list"], ["events", "tail"], ["deploy", "x", "--commit", "a"]):
        done = await cli(*command, "--json")
        assert done.code == Exit.USAGE
        assert "zeitwork up" in problem(done)["detail"]


async def test_an_api_that_is_down_is_unavailable() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = await Cli({"ZEITWORK_API_URL": url, "ZEITWORK_API_TOKEN": "t"})("events", "tail")
    assert done.code == Exit.UNAVAILABLE
    assert "does not answer" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("url", ["not a url", "http://[", "ftp://example.org"])
async def test_an_address_that_is_none_is_told(url: str) -> None:
    done = await Cli({"ZEITWORK_API_URL": url, "ZEITWORK_API_TOKEN": "t"})("projects", "list")
    assert (done.code, "Traceback" in done.err) == (Exit.USAGE, False)
    assert "ZEITWORK_API_URL" in done.err


async def test_a_mistyped_setting_is_told_before_anything_starts(tmp_path: Path) -> None:
    env = {"ZEITWORK_DATABSE_URL": "postgresql://x", "ZEITWORK_DATA_DIR": str(tmp_path / "data")}
    for command in (["up"], ["serve", "api"], ["database", "check"]):
        done = await Cli(env)(*command)
        assert done.code == Exit.USAGE
        assert "Did you mean ZEITWORK_DATABASE_URL?" in done.err
    assert not (tmp_path / "data").exists()


async def test_a_group_that_does_not_exist_is_told() -> None:
    done = await Cli({})("serve", "consumers", "--only", "builds,nonsense")
    assert done.code == Exit.USAGE
    assert "no group nonsense" in done.err


async def test_the_platforms_directory_is_the_one_of_the_settings(api: Api, tmp_path: Path) -> None:
    known = Cli.of(api).env
    (tmp_path / "run").mkdir()
    document = {
        "api_url": known["ZEITWORK_API_URL"],
        "api_token": known["ZEITWORK_API_TOKEN"],
        "proxy_url": "", "public_url": "", "webhook_secret": "",
        "data_dir": str(tmp_path), "ports": {}, "ops_ports": {}, "pid": 1,
    }  # fmt: skip
    (tmp_path / "run" / "platform.json").write_text(json.dumps(document))
    by_setting = await Cli({"ZEITWORK_DATA_DIR": str(tmp_path)})("projects", "list", "--json")
    by_option = await Cli({})("projects", "list", "--data", str(tmp_path), "--json")
    assert [done.out for done in (by_setting, by_option)] == ["[]\n", "[]\n"]


async def test_a_reader_that_goes_away_ends_it_quietly(api: Api, work: UnitOfWork) -> None:
    await add_site(work, "shop")
    for arguments in (["projects", "list"], ["projects", "list", "--json"], ["--help"]):
        read_end, write_end = os.pipe()
        async with Cli.of(api).started(*arguments, stdout=write_end) as process:
            os.close(write_end)
            os.close(read_end)
            assert process.stderr is not None
            said = await process.stderr.read()
            assert (await process.wait(), said) == (Exit.PIPE_CLOSED, b"")


async def test_following_ends_with_an_interrupt(api: Api, bus: MemoryBus, work: UnitOfWork) -> None:
    async with Cli.of(api).started("events", "tail") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert b"Waiting for events" in await process.stderr.readline()
        said = push("whd_1")
        await bus.publish([Message.of(said, subjects.of(said))])
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        assert " push.received " in line
        assert " whd_1 " in line
        process.send_signal(signal.SIGINT)
        rest = await process.stderr.read()
        assert (await process.wait(), rest) == (Exit.INTERRUPTED, b"")


async def test_a_stream_that_the_server_ends_is_no_success() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with answering(head + b": open\n\n") as cli:
        done = await cli("events", "tail")
    assert done.code == Exit.UNAVAILABLE
    assert "ended the stream" in done.err
