"""A stand-in for a service of the platform: serves /readyz and misbehaves as told.

`python stub_service.py PORT [--marker FILE] [--fails-after-first] [--deaf] [--unready]
[--grandchild]`
"""

from __future__ import annotations

import argparse
import http.server
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from typing_extensions import override


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--marker", type=Path, help="gets the pid of each launch, a line each")
    parser.add_argument("--fails-after-first", action="store_true", help="end at a second launch")
    parser.add_argument("--deaf", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--unready", action="store_true", help="/readyz answers 503")
    parser.add_argument("--grandchild", action="store_true", help="start a process that stays")
    options = parser.parse_args()

    launches = 0
    if options.marker is not None:
        with options.marker.open("a") as marker:
            marker.write(f"{os.getpid()}\n")
        launches = len(options.marker.read_text().splitlines())
    print(f"launch {launches} {os.environ.get('STUB_SAYS', '')}", flush=True)
    if options.fails_after_first and launches > 1:
        sys.exit("cannot start again")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.deaf else _end)
    if options.grandchild:
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    _serve(options.port, 503 if options.unready else 200)


def _end(_number: int, _frame: FrameType | None) -> None:
    print("ending in order", flush=True)
    sys.exit(0)


def _serve(port: int, status: int) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"reason": "told so"}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, *args: object) -> None:
            """Stay quiet."""

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
