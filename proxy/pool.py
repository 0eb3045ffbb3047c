"""Which upstreams serve which host, kept in step with the routing table."""

from __future__ import annotations

from collections.abc import Sequence

from events.routes import Route, Target
from proxy.budget import RetryBudget
from proxy.limits import Limits
from proxy.table import RoutingTable
from proxy.upstream import Upstream
from zeitwork import clock


class Group:
    """The instances of one host, and its retries.

    Attributes:
        retries: outlives changes of the row.
    """

    __slots__ = ("retries", "route", "upstreams")

    def __init__(self, route: Route, upstreams: Sequence[Upstream], retries: RetryBudget) -> None:
        self.route = route
        self.upstreams = upstreams
        self.retries = retries


class Upstreams:
    """An Upstream per instance that some host with traffic leads to.

    Instances are shared between hosts and counted; with its last host an instance is retired.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._instances: dict[tuple[str, str, int], Upstream] = {}
        self._hosts: dict[str, Group] = {}

    def of(self, route: Route) -> Group:
        """The upstreams of a route, in the order of its targets."""
        known = self._hosts.get(route.host)
        if known is not None and known.route is route:
            return known
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
                self._leave(known.upstreams)
            elif route is not known.route:
                self._enter(route)

    def close(self) -> None:
        """Retire every instance."""
        for upstream in self._instances.values():
            upstream.retire()
        self._instances.clear()
        self._hosts.clear()

    def _enter(self, route: Route) -> Group:
        known = self._hosts.get(route.host)
        # A newcomer warms up beside others; where all are new nobody could stand in for them.
        joins = any(_key(target) in self._instances for target in route.targets)
        warm_at = clock.monotonic() + self._limits.warm_seconds if joins else 0.0
        upstreams = [self._instance(target, warm_at=warm_at) for target in route.targets]
        for upstream in upstreams:
            upstream.users += 1
        group = Group(route, upstreams, known.retries if known is not None else RetryBudget())
        self._hosts[route.host] = group
        if known is not None:
            self._leave(known.upstreams)
        return group

    def _leave(self, upstreams: Sequence[Upstream]) -> None:
        for upstream in upstreams:
            upstream.users -= 1
            if not upstream.users:
                del self._instances[_key(upstream.target)]
                upstream.retire()

    def _instance(self, target: Target, *, warm_at: float) -> Upstream:
        known = self._instances.get(_key(target))
        if known is None:
            known = Upstream(target, self._limits, warm_at=warm_at)
            self._instances[_key(target)] = known
        return known


def _key(target: Target) -> tuple[str, str, int]:
    return target.instance_id, target.host, target.port
