"""Three NATS servers on loopback that form a cluster, each a process that a test can kill."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from typing_extensions import override

from cli import private_files
from cli.embedded.nats import NatsServer
from cli.program import Command
from tests.support.servers import ServerHost, free_port
from zeitwork.errors import ProgramFailed

_ATTEMPTS = 3
_CLUSTER = """
cluster {{
  name: zeitwork
  listen: {listen}
  routes: {routes}
}}
"""


class Member(NatsServer):
    """One server of a cluster; clients use the same token everywhere."""

    def __init__(
        self, directory: Path, *, number: int, token: str, routes: list[int], own_route: int
    ) -> None:
        super().__init__(directory, port=free_port(), monitor_port=free_port())
        self.member = f"n{number}"
        self._cluster_token = token
        self._routes = routes
        self._own_route = own_route

    @override
    async def command(self) -> Command:
        command = await super().command()
        path = self.directory / "nats.conf"
        text = path.read_text().replace("server_name: zeitwork", f"server_name: {self.member}")
        text += _CLUSTER.format(
            listen=json.dumps(f"127.0.0.1:{self._own_route}"),
            routes=json.dumps([f"nats-route://127.0.0.1:{port}" for port in self._routes]),
        )
        private_files.write(path, text)
        return command

    @override
    def _token(self) -> str:
        return self._cluster_token


class Cluster:
    """Its members, by server name."""

    def __init__(self, host: ServerHost, members: list[Member]) -> None:
        self._host = host
        self.members = {member.member: member for member in members}

    @property
    def url(self) -> str:
        return ",".join(member.url.get_secret_value() for member in self.members.values())

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait for the end."""
        member = self.members[name]
        member.kill()
        await asyncio.to_thread(self._host.run, member.wait())

    async def start(self, name: str) -> None:
        await asyncio.to_thread(self._host.run, self.members[name].start())


@contextmanager
def running(host: ServerHost, directory: Path) -> Iterator[Cluster]:
    """A cluster of three that runs during the block; begun anew when a port was taken meanwhile."""
    for attempt in itertools.count(1):
        with ExitStack() as stack:
            try:
                cluster = _launched(host, directory / str(attempt), stack)
            except ProgramFailed:
                if attempt == _ATTEMPTS:
                    raise
                continue
            yield cluster
            return


def _launched(host: ServerHost, directory: Path, stack: ExitStack) -> Cluster:
    routes = [free_port() for _ in range(3)]
    members = [
        Member(
            directory / f"n{number}",
            number=number,
            token="of-the-cluster",
            routes=routes,
            own_route=routes[number],
        )
        for number in range(3)
    ]
    for member in members:
        host.run(member.launch())
        stack.callback(_stop, host, member)
    for member in members:
        host.run(member.wait_ready())
    return Cluster(host, members)


def _stop(host: ServerHost, member: Member) -> None:
    host.run(member.stop())
