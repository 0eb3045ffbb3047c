"""Which upstreams serve which host, kept in step with the routing table."""

from __future__ import annotations

from collections.abc import Sequence

from events.routes import Route, Target
from proxy.limits import Limits
from proxy.table import RoutingTable
from proxy.upstream import Upstream


class Upstreams:
    """An Upstream per instance that some host with traffic leads to.

    Instances are shared between hosts and counted; with its last host an instance is retired.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._instances: dict[tuple[str, str, int], Upstream] = {}
        self._hosts: dict[str, tuple[Route, Sequence[Upstream]]] = {}

    def of(self, route: Route) -> Sequence[Upstream]:
        """The upstreams of a route, in the order of its targets."""
        known = self._hosts.get(route.host)
        if known is not None and known[0] is route:
            return known[1]
        return self._enter(route)

    def table_changed(self, table: RoutingTable, host: str | None) -> None:
        """Follow a change of one host's row, or of any row (None)."""
        for changed in [*self._hosts] if host is None else [host]:
            known = self._hosts.get(changed)
            if known is None:
                continue
            route = table.row(changed)
            if route is None:
                del self._hosts[changed]
                self._leave(known[1])
            elif route is not known[0]:
                self._enter(route)

    def close(self) -> None:
        """Retire every instance."""
        for upstream in self._instances.values():
            upstream.retire()
        self._instances.clear()
        self._hosts.clear()

    def _enter(self, route: Route) -> Sequence[Upstream]:
        upstreams = [self._instance(target) for target in route.targets]
        for upstream in upstreams:
            upstream.users += 1
        known = self._hosts.get(route.host)
        self._hosts[route.host] = (route, upstreams)
        if known is not None:
            self._leave(known[1])
        return upstreams

    def _leave(self, upstreams: Sequence[Upstream]) -> None:
        for upstream in upstreams:
            upstream.users -= 1
            if not upstream.users:
                del self._instances[_key(upstream.target)]
                upstream.retire()

    def _instance(self, target: Target) -> Upstream:
        return self._instances.setdefault(_key(target), Upstream(target, self._limits))


def _key(target: Target) -> tuple[str, str, int]:
    return target.instance_id, target.host, target.port
