"""A web application of the standard library alone: it needs no install step."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"Hello from Python {sys.version.split()[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def stop(signal_number, frame):
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    address = (os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"]))
    print(f"listening on {address[0]}:{address[1]}")
    ThreadingHTTPServer(address, Page).serve_forever()
