"""The routing table: immutable, and moved forward only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from events.routes import Route, RouteChanged, RouteRemoved, Target
from proxy.table import RouteEvent, RoutingTable


def row(host: str, version: int, **changes: object) -> Route:
    target = Target(instance_id=f"ins_{version}", host="127.0.0.1", port=1000 + version)
    fields = {"project_id": "p", "deployment_id": None, "targets": (target,), **changes}
    return Route.model_validate({"host": host, "version": version, **fields})


def changed(host: str, version: int) -> RouteChanged:
    return RouteChanged(environment_id="e", route=row(host, version))


def removed(host: str, version: int) -> RouteRemoved:
    return RouteRemoved(environment_id="e", host=host, version=version)


def table(*events: RouteEvent) -> RoutingTable:
    result = RoutingTable()
    for event in events:
        result = result.apply(event)
    return result


def test_an_event_makes_a_new_table_and_leaves_the_old() -> None:
    old = table(changed("a.test", 1))
    new = old.apply(changed("b.test", 1))
    assert (old.row("b.test"), new.row("b.test")) == (None, row("b.test", 1))
    assert new.row("a.test") is old.row("a.test")


def test_an_event_that_is_not_news_changes_nothing() -> None:
    now = table(changed("a.test", 3))
    for event in (changed("a.test", 3), changed("a.test", 2), removed("a.test", 2)):
        assert now.apply(event) is now


def test_a_removed_host_is_not_revived_by_a_late_event() -> None:
    gone = table(changed("a.test", 3), removed("a.test", 3))
    assert gone.row("a.test") is None
    assert gone.apply(changed("a.test", 3)) is gone
    assert gone.apply(changed("a.test", 4)).row("a.test") == row("a.test", 4)


_HISTORY: list[RouteEvent] = [
    changed("a.test", 1),
    changed("a.test", 2),
    removed("a.test", 3),
    changed("a.test", 4),
    changed("b.test", 1),
    removed("b.test", 1),
]


@given(st.permutations(_HISTORY))
def test_the_order_of_events_does_not_matter(events: list[RouteEvent]) -> None:
    result = table(*events, *events)
    assert (result.row("a.test"), result.row("b.test")) == (row("a.test", 4), None)


def test_a_load_is_the_whole_truth_and_keeps_what_is_equal() -> None:
    old = table(changed("a.test", 1), changed("b.test", 9), changed("c.test", 5))
    new = old.replace([row("A.test", 1), row("b.test", 2)])
    assert [*new.routes()] == [row("a.test", 1), row("b.test", 2)]
    assert new.row("a.test") is old.row("a.test")
    assert new.apply(changed("c.test", 5)) is new


def test_a_merge_takes_what_is_newer_and_removes_nothing() -> None:
    old = table(changed("a.test", 5), changed("b.test", 1), changed("d.test", 2),
                removed("d.test", 2))  # fmt: skip
    new = old.merge([row("a.test", 4), row("B.test", 2), row("c.test", 1), row("d.test", 2)])
    assert sorted((route.host, route.version) for route in new.routes()) == [
        ("a.test", 5),
        ("b.test", 2),
        ("c.test", 1),
    ]
    assert new.merge([row("a.test", 5)]) is new


def test_a_host_without_a_row_falls_to_its_parents_wildcard_one_label_deep() -> None:
    now = table(changed("*.a.test", 1), changed("x.a.test", 2))
    assert now.find("x.a.test") == row("x.a.test", 2)
    assert now.find("y.a.test") == row("*.a.test", 1)
    for host in ("a.test", "z.y.a.test", "", "*", "test"):
        assert now.find(host) is None


def test_the_memory_of_removed_hosts_is_bounded() -> None:
    many = RoutingTable().replace(row(f"{number}.test", 1) for number in range(10_100))
    none = many.replace([])
    assert len(none._removed) == 10_000
