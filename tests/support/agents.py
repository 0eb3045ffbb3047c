"""A node agent as a process of its own, and the control plane round it: API, rows, NATS."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import psutil
import zstandard
from typing_extensions import override

from db.models import Deployment, Instance, Node
from db.queries.artifacts import artifact_record, blobs_note
from db.queries.instances import instance_create
from db.queries.variables import variables_pin
from db.session import UnitOfWork
from events import subjects
from events.bus import Message
from events.envelope import Envelope, unwrap, wrap
from events.instances import InstanceReported
from events.memory import MemoryBus
from events.nats_bus import NatsBus
from events.nodes import NodeDesiredChanged
from events.states import InstanceState
from events.streams import EVENTS
from events.subjects import of
from events.topology import provision_url
from tests.support.api import NODE_TOKEN, Api, dependencies, serving
from tests.support.eventually import eventually
from tests.support.factories import Conveyor, add_site, add_version, changed, every, fetch
from tests.support.links import Link, linked
from tests.support.servers import free_port
from zeitwork import clock
from zeitwork.blobs import Blob, DiskBlobStore
from zeitwork.service import cancel, spawn

_PORTS = 40
_STOP_SECONDS = 30.0

# Says who it is; every start is another one.
APP = """
import http.server, os, signal, socket, sys, uuid
ME = uuid.uuid4().hex
what = sys.argv[1]
print("start", ME, flush=True)
if what == "exit":
    print("no configuration, going down", flush=True)
    sys.exit(3)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/crash":
            os._exit(9)
        if what == "hang":
            signal.pause()
        status = int(what) if what.isdigit() else 200
        body = ME.encode()
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass

def bye(*_):
    print("bye", ME, flush=True)
    os._exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if what == "deaf" else bye)
port = 0 if what == "elsewhere" else int(os.environ["PORT"])
with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
    if what == "print":
        print("\\x00" * 100_000 + "postgres://me:hunter2@db/x", flush=True)
        for number in range(100_000):
            print(f"line {number:060}")
        sys.stdout.flush()
    server.serve_forever()
"""


def packed(files: Mapping[str, str], *, links: Mapping[str, str] | None = None) -> bytes:
    """An artifact of these files and symbolic links, wherever they lead."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
        for name, target in (links or {}).items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            archive.addfile(link)
    return zstandard.compress(inner.getvalue())


class DeceitfulBlobs(DiskBlobStore):
    """A store whose next reads are changed on their way."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lies: list[Callable[[bytes], bytes]] = []
        self.reads = 0

    @override
    async def read(self, digest: str) -> AsyncIterator[bytes]:
        self.reads += 1
        lie = self.lies.pop(0) if self.lies else bytes
        async for chunk in super().read(digest):
            yield lie(chunk)


class Plane:
    """The control plane round one node: rows to change, an event to send, reports to read.

    Reports are handed to the shipped handler, so that rows follow them.
    """

    def __init__(self, work: UnitOfWork, api: Api, bus: NatsBus, blobs: DeceitfulBlobs) -> None:
        self.work = work
        self.api = api
        self.bus = bus
        self.blobs = blobs
        self.said: list[Envelope] = []
        self._conveyor = Conveyor(work, groups=("instances",))

    async def node(self, name: str) -> str:
        """The node's id, once it has registered."""

        async def registered() -> str | None:
            found = await every(self.work, Node, name=name)
            return found[0].id if found else None

        return str(await eventually(registered, timeout=30))

    async def place(
        self, node_id: str, command: str, *, archive: bytes | None = None, **manifest: Any
    ) -> str:
        """An instance of a new deployment on the node; nobody has told it yet."""
        archive = packed({"app.py": APP}) if archive is None else archive
        digest = hashlib.sha256(archive).hexdigest()
        await self._store(digest, archive)
        site = await add_site(self.work)
        version = await add_version(self.work, site)
        said = {"builder": "static", "processes": {"web": command}, **manifest}
        async with self.work.transaction() as tx:
            deployment = await tx.session.get_one(Deployment, version.deployment.id)
            layers = [Blob(digest, len(archive))]
            await blobs_note(tx.session, layers)
            deployment.artifact_id = await artifact_record(
                tx.session, version.build, layers=layers, manifest=said
            )
            instance = instance_create(tx, deployment, slot=0)
            instance.node_id = node_id
        return instance.id

    async def give(self, instance_id: str, **variables: str) -> None:
        """Set variables of the instance's project as if before its deployment was created."""
        row = await self.row(instance_id)
        answer = await self.api.post(
            f"/projects/{row.project_id}/variables", {"variables": variables}
        )
        assert answer.status == 200, answer.body
        async with self.work.transaction() as tx:
            deployment = await tx.session.get_one(Deployment, row.deployment_id)
            await variables_pin(tx.session, deployment, preview=False, trusted=True)

    async def start(self, node_id: str, command: str, **options: Any) -> str:
        """`place`, and tell the node."""
        instance_id = await self.place(node_id, command, **options)
        await self.tell(node_id)
        return instance_id

    async def drain(self, instance_id: str, *, seconds: float = 0.0) -> None:
        async with changed(self.work, Instance, instance_id) as instance:
            instance.state = InstanceState.DRAINING
            instance.stop_after = clock.now() + timedelta(seconds=seconds)
        await self.tell(instance.node_id)

    async def tell(self, node_id: str) -> None:
        """What makes the node look."""
        envelope = wrap(NodeDesiredChanged(node_id=node_id), subject=node_id, source="test")
        message = _message(envelope)
        await self.bus.publish([message])

    async def row(self, instance_id: str) -> Instance:
        found: Instance = await fetch(self.work, Instance, instance_id)
        return found

    async def until(self, instance_id: str, state: InstanceState, timeout: float = 20) -> Instance:
        async def reached() -> Instance:
            row = await self.row(instance_id)
            assert row.state is state, (row.state, row.error_code, row.error_detail)
            return row

        return await eventually(reached, timeout=timeout)

    def reports(self, instance_id: str) -> list[InstanceReported]:
        return [
            said.data
            for said in self.said
            if isinstance(said.data, InstanceReported) and said.subject == instance_id
        ]

    async def collect(self) -> None:
        async with self.bus.follow(EVENTS.name, subjects.facts(InstanceReported)) as stored:
            async for each in stored:
                envelope = unwrap(each.headers, each.data)
                self.said.append(envelope)
                await self._conveyor.deliver(envelope)

    async def _store(self, digest: str, archive: bytes) -> None:
        path = self.blobs.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive)


def _message(envelope: Envelope) -> Message:
    return Message.of(envelope, of(envelope))


class Agent:
    """`zeitwork serve node` as a child process, restartable on the same directory."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self.directory = directory
        self.name = env["ZEITWORK_NODE__NAME"]
        self.log = directory / "agent.log"
        self._env = {
            **{name: text for name, text in os.environ.items() if not name.startswith("OTEL_")},
            **env,
        }
        self.process = self._launch()

    @property
    def data(self) -> Path:
        return self.directory / "node" / self.name

    async def why_not_ready(self) -> str | None:
        """What its `/readyz` says; None when it is ready."""
        url = f"http://127.0.0.1:{self._env['ZEITWORK_NODE__OPS_PORT']}/readyz"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                said = await answer.json()
        except aiohttp.ClientConnectionError:
            return "does not answer"
        assert (answer.status == 200) == (said["status"] == "ready"), said
        return said.get("reason")  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)

    def restart(self) -> None:
        assert self.process.poll() is not None
        self.process = self._launch()

    def output(self, instance_id: str) -> str:
        return (self.data / "instances" / instance_id / "output.log").read_text(errors="replace")

    def end(self) -> None:
        """Leave nothing running, neither the agent nor its instances."""
        self.kill()
        self.end_instances()

    def end_instances(self) -> None:
        """End them behind the agent's back."""
        for process in processes_of(self.data):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _launch(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", "node"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._env,
            )


@contextmanager
def agent(directory: Path, *, api_url: str, nats_url: str, **settings: str) -> Iterator[Agent]:
    lowest = free_port()
    directory.mkdir()
    env = {
        "ZEITWORK_DATA_DIR": str(directory),
        "ZEITWORK_LOG_FORMAT": "json",
        "ZEITWORK_NATS_URL": nats_url,
        "ZEITWORK_NODE_TOKEN": NODE_TOKEN,
        "ZEITWORK_NODE__NAME": f"n{free_port()}",
        "ZEITWORK_NODE__API_URL": api_url,
        "ZEITWORK_NODE__OPS_PORT": str(free_port()),
        "ZEITWORK_NODE__PORT_RANGE": f"[{lowest}, {lowest + _PORTS}]",
        "ZEITWORK_NODE__HEARTBEAT_SECONDS": "0.2",
        **settings,
    }
    running = Agent(directory, env)
    try:
        yield running
    finally:
        running.end()


@asynccontextmanager
async def plane(work: UnitOfWork, nats_url: str, directory: Path) -> AsyncIterator[Plane]:
    """The control plane without a node; instances have five seconds to become ready."""
    await provision_url(nats_url, durables=[])
    bus = NatsBus(nats_url, name="test")
    await bus.start()
    blobs = DeceitfulBlobs(directory / "blobs")
    deps = dependencies(work, MemoryBus(), directory, health_timeout_seconds=5.0)
    collecting = None
    try:
        async with serving(replace(deps, blobs=blobs)) as api:
            made = Plane(work, api, bus, blobs)
            collecting = spawn(made.collect(), "collect")
            yield made
            assert not collecting.done(), collecting.exception()
    finally:
        await cancel(collecting)
        await bus.stop()


@dataclass(frozen=True)
class Ways:
    """A node's connections to the API and to NATS, which a test can cut, and their addresses."""

    api: Link
    nats: Link
    api_url: str
    nats_url: str


@asynccontextmanager
async def ways(plane: Plane, nats_url: str) -> AsyncIterator[Ways]:
    api, nats = urlsplit(plane.api.base), urlsplit(nats_url)
    assert api.port is not None
    assert nats.port is not None
    async with linked(api.port) as to_api, linked(nats.port) as to_nats:
        yield Ways(
            to_api,
            to_nats,
            f"http://127.0.0.1:{to_api.port}",
            nats_url.replace(f":{nats.port}", f":{to_nats.port}"),
        )


async def who(port: int | None, path: str = "/") -> str:
    """The identity of the process that answers there."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session,
        session.get(f"http://127.0.0.1:{port}{path}", allow_redirects=False) as answer,
    ):
        return await answer.text()


async def silent(port: int | None) -> bool:
    """True when nothing listens there."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


def processes_of(directory: Path) -> list[psutil.Process]:
    """Live processes that work in the directory or have it mounted, by their root's mounts."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd", "status"]):
        if process.info["status"] == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
            continue
        try:
            seen = Path(f"/proc/{process.pid}/mountinfo").read_text()
        except OSError:
            continue
        if str(directory) in f"{process.info['cmdline']} {process.info['cwd']} {seen}":
            found.append(process)
    return found
