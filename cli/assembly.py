"""What a platform on one machine is made of: its ports, its addresses, its services' settings."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from cli.ports import Claims, Port, PortPicker
from cli.scaling import UNSCALED, Process
from cli.secrets_file import Secrets
from zeitwork.config import Settings

NATS_PORT, NATS_MONITOR_PORT, POSTGRES_PORT, VALKEY_PORT = 4222, 8222, 5432, 6379
_FIRST_REPLICA = 10  # replicas' ports begin this far behind that of the service
_LOCAL = "127.0.0.1"
_EVERYWHERE = {"0.0.0.0": _LOCAL, "::": "[::1]"}  # noqa: S104 - recognised, not bound


@dataclass(frozen=True, slots=True)
class Backends:
    """Where the services find broker, database and cache."""

    nats_url: SecretStr
    database_url: SecretStr
    cache_url: SecretStr


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How to start one process, and where it says whether it is ready.

    Attributes:
        env: variables of its own besides those of `environment`.
    """

    name: str
    argv: tuple[str, ...]
    ready_url: str
    env: Mapping[str, str] = field(default_factory=dict)


def choose_ports(settings: Settings, processes: Sequence[Process] = UNSCALED) -> dict[str, Port]:
    """A free port for everything that listens, by name; instances' ports are left alone.

    Raises:
        HostUnsupported: there is none near a wanted one.
    """
    lowest, highest = settings.node.port_range
    picker = PortPicker(reserved=range(lowest, highest + 1), claim=Claims().claim)
    wanted = [
        ("api", settings.api.port, settings.api.host),
        ("proxy", settings.proxy.port, settings.proxy.host),
    ]
    operations = _operations(settings)
    replicas = 0
    for process in sorted(processes, key=lambda each: each.replica > 0):
        host, port = operations[process.service]
        if process.replica:
            port += _FIRST_REPLICA + replicas
            replicas += 1
        wanted.append((f"{process.name} ops", port, host))
    if embeds(settings, "nats_url"):
        wanted += [("nats", NATS_PORT, _LOCAL), ("nats monitor", NATS_MONITOR_PORT, _LOCAL)]
    if embeds(settings, "database_url"):
        wanted += [("postgres", POSTGRES_PORT, _LOCAL)]
    if embeds(settings, "cache_url"):
        wanted += [("valkey", VALKEY_PORT, _LOCAL)]
    return {name: picker.pick(name, port, host=host) for name, port, host in wanted}


def embeds(settings: Settings, url: str) -> bool:
    """Whether the server behind the setting `url` is ours to start: nobody named another."""
    return url not in settings.model_fields_set


def local_url(host: str, port: Port) -> str:
    """Where a listener on `host` is reached from this machine."""
    return f"http://{_EVERYWHERE.get(host, host)}:{port.got}"


def public_url(settings: Settings, ports: Mapping[str, Port]) -> str:
    if "public_url" in settings.model_fields_set:
        return settings.public_url
    return f"http://{settings.base_domain}:{ports['proxy'].got}"


def effective_secrets(settings: Settings, made: Secrets) -> Secrets:
    """What the operator set, else what was made here."""
    return Secrets(
        api_token=settings.api_token.get_secret_value() or made.api_token,
        node_token=settings.node_token.get_secret_value() or made.node_token,
        github_webhook_secret=settings.github_webhook_secret.get_secret_value()
        or made.github_webhook_secret,
        secret_keys=settings.secret_keys.get_secret_value() or made.secret_keys,
        hook_key=settings.hook_key.get_secret_value() or made.hook_key,
    )


def environment(
    settings: Settings,
    *,
    data_dir: Path,
    ports: Mapping[str, Port],
    backends: Backends,
    secrets: Secrets,
    log_format: str,
) -> dict[str, str]:
    """The variables that every service gets on top of ours; unchanged settings are inherited."""
    monitor = ports.get("nats monitor")
    watched = {} if monitor is None else {"ZEITWORK_NATS_MONITOR_URL": local_url(_LOCAL, monitor)}
    return {
        **watched,
        "ZEITWORK_DATA_DIR": str(data_dir),
        "ZEITWORK_LOG_FORMAT": log_format,
        "ZEITWORK_DATABASE_URL": backends.database_url.get_secret_value(),
        "ZEITWORK_NATS_URL": backends.nats_url.get_secret_value(),
        "ZEITWORK_CACHE_URL": backends.cache_url.get_secret_value(),
        "ZEITWORK_API_TOKEN": secrets.api_token,
        "ZEITWORK_NODE_TOKEN": secrets.node_token,
        "ZEITWORK_GITHUB_WEBHOOK_SECRET": secrets.github_webhook_secret,
        "ZEITWORK_SECRET_KEYS": secrets.secret_keys,
        "ZEITWORK_HOOK_KEY": secrets.hook_key,
        "ZEITWORK_PUBLIC_URL": public_url(settings, ports),
        "ZEITWORK_API__PORT": str(ports["api"].got),
        "ZEITWORK_PROXY__PORT": str(ports["proxy"].got),
        "ZEITWORK_NODE__API_URL": local_url(settings.api.host, ports["api"]),
        "ZEITWORK_NODE__KEEP_INSTANCES": "false",
    }


def services(
    settings: Settings, ports: Mapping[str, Port], processes: Sequence[Process] = UNSCALED
) -> list[ServiceSpec]:
    """The processes in the order in which they start."""
    return [_spec(process, settings, ports) for process in processes]


def _spec(process: Process, settings: Settings, ports: Mapping[str, Port]) -> ServiceSpec:
    port = ports[f"{process.name} ops"]
    only = ("--only", ",".join(process.groups)) if process.groups else ()
    host, _ = _operations(settings)[process.service]
    return ServiceSpec(
        process.name,
        (sys.executable, "-m", "cli.main", "serve", process.service, *only),
        f"{local_url(host, port)}/readyz",
        env={f"ZEITWORK_{process.service.upper()}__OPS_PORT": str(port.got)},
    )


def _operations(settings: Settings) -> dict[str, tuple[str, int]]:
    """Host and wanted port of the operations listener, by service."""
    return {
        "api": (settings.api.ops_host, settings.api.ops_port),
        "consumers": (settings.consumers.ops_host, settings.consumers.ops_port),
        "proxy": (settings.proxy.ops_host, settings.proxy.ops_port),
        "node": (settings.node.ops_host, settings.node.ops_port),
    }
