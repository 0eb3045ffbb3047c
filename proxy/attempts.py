"""The tries of one request: which instance gets it, and whether another may after a failure.

A connection that was not made carried nothing, so any request may be tried elsewhere. Once bytes
were sent only one without body and with an idempotent method may be sent again, and only as long
as no byte of a response came (RFC 9110 §9.2.2): a POST is never executed twice because of us.
"""

from __future__ import annotations

from proxy import balancer, policy, refusals
from proxy.edge import Edge
from proxy.pool import Group
from proxy.refusals import Refusal
from proxy.upstream import InstanceSilent, Upstream
from zeitwork import clock, metrics

_MAX_TRIES = 3


class Attempts:
    """Holds a place at the instance in use; `end` must be called once.

    Attributes:
        upstream: the instance in use.
        count: tries so far.
        fresh_only: a kept connection of this instance just died; the others may be dead as well.
    """

    __slots__ = (
        "_edge",
        "_group",
        "_host",
        "_peer",
        "_repeatable",
        "_retrying",
        "_started",
        "_tried",
        "count",
        "fresh_only",
        "upstream",
    )

    def __init__(self, edge: Edge, host: str, *, peer: str, repeatable: bool) -> None:
        self.upstream: Upstream | None = None
        self.count = 0
        self.fresh_only = False
        self._edge = edge
        self._host = host
        self._peer = peer
        self._repeatable = repeatable
        self._group: Group | None = None
        self._retrying = False
        self._started = clock.monotonic()
        self._tried: list[Upstream] = []

    def next(self, *, otherwise: Refusal | None = None) -> Upstream | Refusal:
        """Choose an instance by the table as it is now; or the answer when there is none.

        Args:
            otherwise: the answer when there is none that was not tried.
        """
        routes = self._edge.routes
        route = routes.table.find(self._host)
        if route is None:
            return refusals.UNKNOWN_HOST if routes.loaded else refusals.NO_ROUTES
        group = self._edge.upstreams.of(route)
        if group is not self._group:
            self._enter(group)
        if not self.count:
            limited = self._edge.over_rate(route.project_id, self._peer)
            if limited is not None:
                return limited
        upstream = balancer.pick(
            group.upstreams,
            tried=self._tried,
            now=clock.monotonic() if len(group.upstreams) > 1 else 0.0,
            chance=_chance,
            warm_seconds=self._edge.limits.warm_seconds,
        )
        if upstream is None:
            busy = any(each.full for each in group.upstreams)
            return otherwise or (refusals.BUSY if busy else refusals.NO_INSTANCE)
        self.upstream = upstream
        upstream.in_flight += 1
        self.count += 1
        return upstream

    @property
    def project_id(self) -> str | None:
        return self._group.route.project_id if self._group is not None else None

    def unreachable(self, error: BaseException) -> tuple[Refusal, bool]:
        """The instance took no connection; what to answer, and whether to try another first."""
        refusal = (
            refusals.CONNECT_TIMEOUT if isinstance(error, InstanceSilent) else refusals.UNREACHABLE
        )
        upstream, limits = self.upstream, self._edge.limits
        if upstream is not None:
            upstream.health.refused(until=clock.monotonic() + limits.refused_seconds)
        self._judge(failed=True)
        self.leave()
        return refusal, self._may_try_again()

    def unanswered(self, *, reused: bool) -> bool:
        """The connection closed without a byte of a response; whether to send the request again.

        Args:
            reused: it had been idle before, so it may just have been closed for its age.
        """
        upstream = self.upstream
        if not reused:
            self._judge(failed=True)
        self.leave()
        if not self._repeatable or not self._may_try_again():
            return False
        if self._others():
            return True
        if not reused or self.fresh_only or upstream is None:
            return False
        self.fresh_only = True
        self._tried.remove(upstream)
        return True

    def answered(self, status: int) -> None:
        """The head of the final response came."""
        self._judge(failed=status >= 500)  # noqa: PLR2004 - the server's fault, in HTTP's words

    def failed(self) -> None:
        """The instance broke off, was silent or made no sense."""
        self._judge(failed=True)

    def leave(self) -> None:
        """Give up the place at the instance."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            upstream.in_flight -= 1
            self._tried.append(upstream)

    def end(self) -> None:
        """The request is over."""
        self.leave()
        group, self._group = self._group, None
        if group is not None:
            group.retries.active -= 1
            if self._retrying:
                group.retries.give_back()

    def _enter(self, group: Group) -> None:
        old, self._group = self._group, group
        if old is None or old.retries is not group.retries:
            group.retries.active += 1
            if old is not None:
                old.retries.active -= 1
                if self._retrying:
                    old.retries.give_back()
                    self._retrying = False

    def _may_try_again(self) -> bool:
        if self.count >= _MAX_TRIES or self._group is None:
            return False
        if clock.monotonic() - self._started > self._edge.limits.retry_seconds:
            return False
        if not self._retrying:
            self._retrying = self._group.retries.take()
        if self._retrying:
            metrics.EDGE_RETRIES.inc()
        return self._retrying

    def _others(self) -> bool:
        return self._group is not None and any(
            each not in self._tried for each in self._group.upstreams
        )

    def _judge(self, *, failed: bool) -> None:
        upstream, group = self.upstream, self._group
        if upstream is None or group is None:
            return
        if not failed:
            upstream.health.succeeded()
            return
        others = [each.health for each in group.upstreams]
        if upstream.health.failed(clock.monotonic(), others=others):
            metrics.EDGE_EJECTIONS.inc()
            upstream.ejected()


def repeatable(method: bytes, *, body: object) -> bool:
    """Whether a request may be sent twice."""
    return not body and method in policy.IDEMPOTENT


def _chance() -> float:
    return clock.jitter(0.5, fraction=1.0)
