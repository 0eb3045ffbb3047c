"""A Docker Engine of the test's own, and a base image made of this machine's busybox.

It changes nothing of the machine: no bridge, no firewall rule, everything below one directory. Its
builds have no network.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
from typing_extensions import override

from consumers.builds.engine import EngineSettings

BASE = "zeitwork-test/base:1"
_START_SECONDS = 30.0
_QUIET = ("--bridge=none", "--iptables=false", "--ip6tables=false")
_QUIETER = ("--ip-forward=false", "--ip-masq=false", "--storage-driver=vfs")


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket on disk."""

    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=60)
        self._path = path

    @override
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class DockerEngine:
    """A running Engine; `ask` speaks to it past the code under test."""

    socket: Path

    @property
    def settings(self) -> EngineSettings:
        return EngineSettings(f"unix://{self.socket}", network="none")

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, kind: str = "application/x-tar"
    ) -> list[Any]:
        connection = _Connection(self.socket)
        try:
            headers = {"Content-Type": kind} if body is not None else {}
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode()
            assert answer.status < 400, text
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        finally:
            connection.close()

    def import_base(self) -> None:
        """An image with busybox in it, since none can be pulled here."""
        self.ask("POST", f"/images/create?fromSrc=-&repo={quote(BASE)}", _busybox())

    def images(self) -> list[dict[str, Any]]:
        (found,) = self.ask("GET", "/images/json")
        return [*found]

    def containers(self) -> list[dict[str, Any]]:
        (found,) = self.ask("GET", "/containers/json?all=1")
        return [*found]


def why_no_engine() -> str | None:
    """None when an Engine can be started here, else what is missing."""
    if os.geteuid() != 0:
        return "a Docker Engine is started by root alone"
    for program in ("dockerd", "containerd", "busybox"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"{program} is not installed (Debian: docker.io, busybox-static)"
    return None


@contextmanager
def docker_engine(directory: Path) -> Iterator[DockerEngine]:
    """dockerd below `directory`, whose path must be short; stopped and cleaned up afterwards."""
    directory.mkdir(parents=True)
    path = directory / "docker.sock"
    log = directory / "log"
    argv = ["dockerd", f"--data-root={directory}/data", f"--exec-root={directory}/exec"]
    argv += [f"--pidfile={directory}/pid", f"--host=unix://{path}", *_QUIET, *_QUIETER]
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        _await_socket(path, process, log)
        yield DockerEngine(path)
    finally:
        _stop(process)
        shutil.rmtree(directory, ignore_errors=True)


def _await_socket(path: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            DockerEngine(path).ask("GET", "/version")
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"dockerd did not start: {log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    children = (
        psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    )
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
    for child in children:
        if child.is_running():
            child.kill()


def _busybox() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for folder in ("bin", "tmp", "etc"):
            member = tarfile.TarInfo(folder)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(member)
        archive.add(_program("busybox"), "bin/busybox")
        for name in ("sh", "cat", "sleep", "echo", "ls", "find", "touch", "env", "id", "httpd"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return held.getvalue()


def _program(name: str) -> str:
    found = shutil.which(name)
    assert found is not None
    return found
