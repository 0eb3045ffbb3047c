"""Instances in step with the routing table."""

from __future__ import annotations

from events.routes import Route, Target
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.table import RoutingTable

_ONE, _TWO, _THREE = (
    Target(instance_id=f"ins_{number}", host="127.0.0.1", port=number) for number in (1, 2, 3)
)


def row(host: str, version: int, *targets: Target) -> Route:
    return Route(host=host, version=version, project_id="p", deployment_id=None, targets=targets)


def test_an_instance_is_shared_by_hosts_and_survives_while_one_leads_to_it() -> None:
    pool = Upstreams(Limits())
    a, b = row("a.test", 1, _ONE, _TWO), row("b.test", 1, _TWO)
    one, two = pool.of(a)
    assert [*pool.of(b)] == [two]
    assert pool.of(a)[0] is one

    pool.table_changed(RoutingTable().replace([b]), None)
    assert pool.of(b)[0] is two
    assert (one._retired, two._retired) == (True, False)
    pool.table_changed(RoutingTable(), "b.test")
    assert two._retired


def test_a_new_row_keeps_the_instances_that_stay() -> None:
    pool = Upstreams(Limits())
    one, two = pool.of(row("a.test", 1, _ONE, _TWO))
    two.in_flight = 3
    new = row("a.test", 2, _TWO, _THREE)
    pool.table_changed(RoutingTable().replace([new]), None)
    assert pool.of(new)[0] is two
    assert (one._retired, two.in_flight) == (True, 3)


def test_an_instance_at_another_port_is_another() -> None:
    pool = Upstreams(Limits())
    (before,) = pool.of(row("a.test", 1, _ONE))
    (after,) = pool.of(row("a.test", 2, _ONE.model_copy(update={"port": 9})))
    assert after is not before
    assert before._retired


def test_closing_retires_all() -> None:
    pool = Upstreams(Limits())
    upstreams = pool.of(row("a.test", 1, _ONE, _TWO))
    pool.close()
    assert all(upstream._retired for upstream in upstreams)
