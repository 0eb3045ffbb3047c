"""Instances in step with the routing table."""

from __future__ import annotations

from datetime import UTC, datetime

from events.routes import Route, Target
from proxy.limits import Limits
from proxy.pool import Upstreams
from proxy.table import RoutingTable
from zeitwork.clock import FakeClock, using

_ONE, _TWO, _THREE = (
    Target(instance_id=f"ins_{number}", host="127.0.0.1", port=number) for number in (1, 2, 3)
)


def row(host: str, version: int, *targets: Target) -> Route:
    return Route(host=host, version=version, project_id="p", deployment_id=None, targets=targets)


def test_an_instance_is_shared_by_hosts_and_survives_while_one_leads_to_it() -> None:
    pool = Upstreams(Limits())
    a, b = row("a.test", 1, _ONE, _TWO), row("b.test", 1, _TWO)
    one, two = pool.of(a).upstreams
    assert [*pool.of(b).upstreams] == [two]
    assert pool.of(a).upstreams[0] is one

    pool.table_changed(RoutingTable().replace([b]), None)
    assert pool.of(b).upstreams[0] is two
    assert (one._retired, two._retired) == (True, False)
    pool.table_changed(RoutingTable(), "b.test")
    assert two._retired


def test_a_new_row_keeps_the_instances_that_stay() -> None:
    pool = Upstreams(Limits())
    one, two = pool.of(row("a.test", 1, _ONE, _TWO)).upstreams
    two.in_flight = 3
    new = row("a.test", 2, _TWO, _THREE)
    pool.table_changed(RoutingTable().replace([new]), None)
    assert pool.of(new).upstreams[0] is two
    assert (one._retired, two.in_flight) == (True, 3)


def test_an_instance_that_joins_others_warms_up_and_one_that_replaces_them_does_not() -> None:
    pool = Upstreams(Limits())
    with using(FakeClock(datetime(2026, 1, 1, tzinfo=UTC))) as clock:
        clock.advance(100)
        (first,) = pool.of(row("a.test", 1, _ONE)).upstreams
        old, new = pool.of(row("a.test", 2, _ONE, _TWO)).upstreams
        (other,) = pool.of(row("a.test", 3, _THREE)).upstreams
    assert (old.warm_at, new.warm_at, other.warm_at) == (0, 130, 0)
    assert old is first


def test_retries_in_hand_outlive_a_change_of_the_row() -> None:
    pool = Upstreams(Limits())
    before = pool.of(row("a.test", 1, _ONE))
    assert pool.of(row("a.test", 2, _TWO)).retries is before.retries
    assert pool.of(row("b.test", 1, _TWO)).retries is not before.retries


def test_an_instance_at_another_port_is_another() -> None:
    pool = Upstreams(Limits())
    (before,) = pool.of(row("a.test", 1, _ONE)).upstreams
    (after,) = pool.of(row("a.test", 2, _ONE.model_copy(update={"port": 9}))).upstreams
    assert after is not before
    assert before._retired


def test_closing_retires_all() -> None:
    pool = Upstreams(Limits())
    upstreams = pool.of(row("a.test", 1, _ONE, _TWO)).upstreams
    pool.close()
    assert all(upstream._retired for upstream in upstreams)
