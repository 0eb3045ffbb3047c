"""A package index on loopback, for pip's and for npm's clients, which notes what it is asked."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typing_extensions import override

from tests.contracts.builder import wheel

WHEEL = "tiny-1.0-py3-none-any.whl"


@dataclass
class PackageIndex:
    """Has one package, tiny 1.0, in both worlds; `refuse` holds names that need credentials."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    refuse: set[str] = field(default_factory=set)

    @property
    def environment(self) -> dict[str, str]:
        """Makes installers of this process's children ask here and nowhere else."""
        return {"UV_DEFAULT_INDEX": f"{self.url}/simple/", "npm_config_registry": f"{self.url}/"}

    def answer(self, path: str) -> tuple[int, str, bytes]:
        self.asked.append(path)
        if self.refuse & {*path.split("/")}:
            return 401, "text/plain", b"credentials, please"
        match path:
            case "/simple/tiny/":
                return 200, "text/html", f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
            case "/tiny":
                return 200, "application/json", json.dumps(self._npm()).encode()
            case "/files/tiny-1.0.0.tgz":
                return 200, "application/octet-stream", _tarball()
            case _ if path == f"/files/{WHEEL}":
                return 200, "application/octet-stream", wheel("tiny")
        return 404, "text/plain", b"not here"

    def npm_lock(self, name: str) -> str:
        """package-lock.json of a package that depends on tiny."""
        whole = {"name": name, "version": "1.0.0", "dependencies": {"tiny": "1.0.0"}}
        tiny = {"version": "1.0.0", "integrity": _integrity()}
        packages = {"": whole, "node_modules/tiny": tiny}
        return json.dumps(
            {"name": name, "version": "1.0.0", "lockfileVersion": 3, "packages": packages}
        )

    def _npm(self) -> dict[str, Any]:
        dist = {"tarball": f"{self.url}/files/tiny-1.0.0.tgz", "integrity": _integrity()}
        version = {"name": "tiny", "version": "1.0.0", "dist": dist}
        return {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}


@contextmanager
def package_index() -> Iterator[PackageIndex]:
    index = PackageIndex()

    class Handler(BaseHTTPRequestHandler):
        """Reads from `index`."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            status, kind, body = index.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        index.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield index
        finally:
            server.shutdown()
            thread.join()


def _tarball() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in {
            "package/package.json": '{"name": "tiny", "version": "1.0.0", "main": "index.js"}',
            "package/index.js": "module.exports = 'red';",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    # gzip notes the time of its making, which would give another digest each time.
    return held.getvalue()[:4] + bytes(4) + held.getvalue()[8:]


def _integrity() -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(_tarball()).digest()).decode()
