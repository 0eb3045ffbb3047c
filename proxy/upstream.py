"""One instance as the edge sees it: kept connections, load, health, tunnels.

Connections are taken last in, first out: the one used last is the least likely to be dead, and
those that are not needed age until their deadline.
"""

from __future__ import annotations

import asyncio

from events.routes import Target
from proxy.health import Health
from proxy.limits import Limits
from proxy.upstream_connection import UpstreamConnection
from proxy.websocket import Tunnel
from zeitwork import clock, logs
from zeitwork.errors import TimedOut, Unavailable

_log = logs.get(__name__)


class InstanceUnreachable(Unavailable):
    """The instance refused the connection."""

    code = "instance_unreachable"


class InstanceSilent(TimedOut):
    """The instance did not take the connection in time."""

    code = "instance_connect_timeout"


class Upstream:
    """One instance: its idle connections, its requests in flight, its health, its tunnels."""

    __slots__ = (
        "_idle",
        "_limits",
        "_retired",
        "_tunnels",
        "health",
        "in_flight",
        "target",
        "users",
        "warm_at",
    )

    def __init__(self, target: Target, limits: Limits, *, warm_at: float = 0.0) -> None:
        self.target = target
        self.health = Health()
        self.in_flight = 0
        self.users = 0
        self.warm_at = warm_at
        self._limits = limits
        self._idle: list[UpstreamConnection] = []
        self._tunnels: set[Tunnel] = set()
        self._retired = False

    @property
    def full(self) -> bool:
        return self.in_flight >= self._limits.instance_requests

    @property
    def avoided_until(self) -> float:
        return self.health.avoided_until

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """The idle connection used last, which is the one least likely to be dead."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> UpstreamConnection:
        """A new connection.

        Raises:
            InstanceUnreachable: refused, or no way there.
            InstanceSilent: not established in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._limits.connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: UpstreamConnection(self, self._limits, loop=loop),
                    self.target.host,
                    self.target.port,
                )
        except TimeoutError as error:
            raise InstanceSilent("the instance does not take connections") from error
        except OSError as error:
            raise InstanceUnreachable("the instance refuses connections") from error
        return connection

    def ejected(self) -> None:
        """Say that it is passed over."""
        _log.warning(
            "instance ejected",
            instance_id=self.target.instance_id,
            seconds=round(self.avoided_until - clock.monotonic()),
        )

    def carry(self, tunnel: Tunnel) -> None:
        """A tunnel leads here."""
        self._tunnels.add(tunnel)
        if self._retired:
            self._end_tunnels_later()

    def carried(self, tunnel: Tunnel) -> None:
        """It closed."""
        self._tunnels.discard(tunnel)

    def keep(self, connection: UpstreamConnection) -> None:
        if self._retired or len(self._idle) >= self._limits.idle_upstream_connections:
            connection.abort()
        else:
            self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def retire(self) -> None:
        """No route leads here any more: exchanges in flight finish, nothing is kept.

        Tunnels have no end of their own; they get theirs before the instance does.
        """
        self._retired = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()
        if self._tunnels:
            self._end_tunnels_later()

    def _end_tunnels_later(self) -> None:
        clock.later(self._limits.instance_drain_seconds, self._end_tunnels)

    def _end_tunnels(self) -> None:
        for tunnel in [*self._tunnels]:
            tunnel.go_away()
