"""The listener: takes visitors' connections, and lets them finish when the process stops."""

from __future__ import annotations

import asyncio
import contextlib

from proxy.client import ClientConnection
from proxy.edge import Edge
from zeitwork import logs
from zeitwork.errors import Unavailable

_log = logs.get(__name__)
_BACKLOG = 4096  # the system caps it at net.core.somaxconn


class CannotListen(Unavailable):
    """The address of the edge is taken, or not ours."""

    code = "cannot_listen"
    retryable = False


class Server:
    """Listens for visitors; a Service."""

    name = "edge"

    def __init__(self, edge: Edge, *, host: str, port: int, reuse_port: bool = False) -> None:
        self.connections: set[ClientConnection] = set()
        self._clients: dict[str, int] = {}
        self._edge = edge
        self._host = host
        self._port = port
        self._reuse_port = reuse_port
        self._server: asyncio.Server | None = None
        self._left = asyncio.Event()

    @property
    def port(self) -> int:
        """The port in use; asked for as 0, the system chose one."""
        if self._server is None:
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen.

        Raises:
            CannotListen: the address is in use or not available.
        """
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: ClientConnection(self._edge, self, loop=loop),
                self._host,
                self._port,
                reuse_port=self._reuse_port or None,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise CannotListen(
                f"The edge cannot listen on {self._host}:{self._port} ({error.strerror}). "
                "Set ZEITWORK_PROXY__HOST and ZEITWORK_PROXY__PORT to a free address."
            ) from error
        _log.info("listening", host=self._host, port=self.port)

    async def ready(self) -> str | None:
        if self._server is None:
            return "not listening"
        return "draining" if self._edge.draining else None

    async def stop(self) -> None:
        """Accept no more, let requests in flight finish, then close what is still open.

        Tunnels have no end of their own, so they are closed as soon as all requests are done.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._edge.draining = True
        server.close()
        for connection in [*self.connections]:
            connection.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._edge.limits.drain_seconds):
                await self._until(tunnels=True)
        for connection in [*self.connections]:
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._edge.limits.linger_seconds):
                await self._until(tunnels=False)
        for connection in [*self.connections]:
            connection.abort()
        self._edge.upstreams.close()

    def entered(self, connection: ClientConnection) -> str | None:
        """Count a connection; the reason when there are too many already."""
        limits = self._edge.limits
        if self._edge.draining:
            return "draining"
        if len(self.connections) >= limits.connections:
            return "too_many_connections"
        held = self._clients.get(connection.client, 0)
        if held >= limits.client_connections:
            return "too_many_connections_of_client"
        self._clients[connection.client] = held + 1
        self.connections.add(connection)
        return None

    def left(self, connection: ClientConnection) -> None:
        """Forget a connection that is gone."""
        if connection in self.connections:
            self.connections.remove(connection)
            held = self._clients.pop(connection.client) - 1
            if held:
                self._clients[connection.client] = held
        self._left.set()

    async def _until(self, *, tunnels: bool) -> None:
        """Wait until all connections are gone, or with `tunnels` all but those."""
        while any(not (tunnels and connection.tunnelling) for connection in self.connections):
            self._left.clear()
            await self._left.wait()
