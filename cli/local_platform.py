"""The whole platform on this machine: servers, schema, streams, services, in order."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import SecretStr

from cli import assembly, platform_file, secrets_file
from cli.assembly import Backends
from cli.child import Child
from cli.console import Console
from cli.embedded.nats import NatsServer
from cli.embedded.postgres import PostgresServer
from cli.embedded.server import EmbeddedServer
from cli.embedded.valkey import ValkeyServer
from cli.leftovers import Leftovers
from cli.log_files import LogFile
from cli.platform_file import Platform
from cli.ports import Port
from cli.program import Sink
from cli.scaling import UNSCALED, Process
from cli.secrets_file import Secrets
from cli.supervision import Supervision
from cli.together import together
from zeitwork import config
from zeitwork.config import Settings

OnLine = Callable[[str, str], None]


class LocalPlatform:
    """Starts and stops everything below `data_dir`, which the caller has locked.

    Args:
        log_format: the services' ZEITWORK_LOG_FORMAT.
        on_line: gets each log line of each service, with the service's name, besides its file.
        processes: what to start once servers, schema and streams are there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        data_dir: Path,
        console: Console,
        log_format: str,
        on_line: OnLine | None = None,
        processes: Sequence[Process] = UNSCALED,
    ) -> None:
        self._settings = settings
        self._data = data_dir
        self._console = console
        self._log_format = log_format
        self._on_line = on_line
        self._processes = processes
        self._leftovers = Leftovers(data_dir / "run" / "processes.json")
        self._supervision = Supervision(self._leftovers)
        self._logs: list[LogFile] = []

    async def start(self) -> Platform:
        """Return when every service is ready.

        Raises:
            ZeitworkError: something did not come up; call `stop` for the rest.
        """
        for name in await self._leftovers.end():
            self._console.step(f"Ended {name}, left over from a run that was killed.")
        ports = assembly.choose_ports(self._settings, self._processes)
        self._console.ports(ports.values())
        secrets = assembly.effective_secrets(
            self._settings, secrets_file.ensure(self._data / "secrets.json")
        )
        backends = await self._start_servers(ports)
        children = self._children(ports, backends, secrets)
        self._console.step(f"Starting the services: {', '.join(each.name for each in children)} …")
        await self._supervision.start(*children)
        platform = self._describe(ports, secrets)
        platform_file.save(platform)
        return platform

    async def stop(self) -> None:
        """Stop everything in reverse order; safe at any moment."""
        platform_file.remove(self._data)
        await self._supervision.stop()
        for log in self._logs:
            log.close()

    def kill(self) -> None:
        """End every process at once; `stop` still cleans up."""
        self._supervision.kill()

    async def _start_servers(self, ports: dict[str, Port]) -> Backends:
        """Start the servers that nobody replaced; bring schema and streams up to date."""
        settings = self._settings
        servers = self._servers(ports)
        backends = Backends(
            **{
                url: servers[url].url if url in servers else getattr(settings, url)
                for url in ("nats_url", "database_url", "cache_url")
            }
        )
        names = ", ".join(server.name for server in servers.values())
        self._console.step(f"Starting the servers: {names} …" if names else "Using your servers …")

        async def database() -> None:
            # The import takes as long as the server's start; they run side by side.
            imported = asyncio.to_thread(importlib.import_module, "db.migrate")
            await together(imported, self._start_server(servers.get("database_url")))
            await _migrate(backends.database_url)

        async def broker() -> None:
            await self._start_server(servers.get("nats_url"))
            await _provision(backends.nats_url)

        await together(database(), broker(), self._start_server(servers.get("cache_url")))
        return backends

    async def _start_server(self, server: EmbeddedServer | None) -> None:
        if server is not None:
            await self._supervision.start(server)

    def _servers(self, ports: dict[str, Port]) -> dict[str, EmbeddedServer]:
        """The servers to start, by the setting that holds their URL."""
        root, logs = self._data / "servers", self._data / "logs"
        servers: dict[str, EmbeddedServer] = {}
        if "nats" in ports:
            servers["nats_url"] = NatsServer(
                root / "nats",
                port=ports["nats"].got,
                monitor_port=ports["nats monitor"].got,
                logs=logs,
            )
        if "postgres" in ports:
            servers["database_url"] = PostgresServer(
                root / "postgres", port=ports["postgres"].got, logs=logs
            )
        if "valkey" in ports:
            servers["cache_url"] = ValkeyServer(
                root / "valkey", port=ports["valkey"].got, logs=logs
            )
        return servers

    def _children(
        self, ports: dict[str, Port], backends: Backends, secrets: Secrets
    ) -> list[Child]:
        env = config.child_environment(
            **assembly.environment(
                self._settings,
                data_dir=self._data,
                ports=ports,
                backends=backends,
                secrets=secrets,
                log_format=self._log_format,
            )
        )
        return [
            Child(
                spec.name,
                argv=spec.argv,
                env={**env, **spec.env},
                ready_url=spec.ready_url,
                sink=self._sink(spec.name),
            )
            for spec in assembly.services(self._settings, ports, self._processes)
        ]

    def _sink(self, service: str) -> Sink:
        log = LogFile(self._data / "logs" / f"{service}.log")
        self._logs.append(log)

        def sink(line: str) -> None:
            if self._on_line is not None:
                self._on_line(service, line)
            log.write(line)

        return sink

    def _describe(self, ports: dict[str, Port], secrets: Secrets) -> Platform:
        settings = self._settings
        return Platform(
            api_url=assembly.local_url(settings.api.host, ports["api"]),
            proxy_url=assembly.local_url(settings.proxy.host, ports["proxy"]),
            public_url=assembly.public_url(settings, ports),
            api_token=secrets.api_token,
            webhook_secret=secrets.github_webhook_secret,
            data_dir=self._data,
            ports={name: port.got for name, port in ports.items()},
            ops_ports={each.name: ports[f"{each.name} ops"].got for each in self._processes},
            pid=os.getpid(),
        )


async def _migrate(url: SecretStr) -> None:
    from db import migrate

    await migrate.upgrade(url)


async def _provision(url: SecretStr) -> None:
    from events.topology import provision_url

    await provision_url(url.get_secret_value())
