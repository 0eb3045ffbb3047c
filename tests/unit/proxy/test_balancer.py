"""Which instance gets a request."""

from __future__ import annotations

from dataclasses import dataclass

from proxy import balancer


@dataclass(frozen=True)
class One:
    """An instance as the balancer sees it."""

    name: str
    in_flight: int = 0
    refused_until: float = 0.0


def test_the_one_with_the_fewest_requests_is_picked() -> None:
    loads = [One("a", 3), One("b", 1), One("c", 2)]
    for chance in (0.0, 0.4, 0.99):
        assert balancer.pick(loads, now=0, chance=chance) == loads[1]


def test_chance_decides_between_equals() -> None:
    loads = [One("a"), One("b"), One("c")]
    picked = [balancer.pick(loads, now=0, chance=chance) for chance in (0.0, 0.34, 0.999)]
    assert picked == loads


def test_one_that_refused_lately_is_passed_over_unless_there_is_no_other() -> None:
    busy, refused = One("a", 50), One("b", 0, refused_until=10)
    assert balancer.pick([refused, busy], now=9) is busy
    assert balancer.pick([refused, busy], now=10) is refused
    assert balancer.pick([refused], now=9) is refused


def test_what_was_tried_is_not_picked_again() -> None:
    a, b = One("a"), One("b")
    assert balancer.pick([a, b], tried=[a], now=0) is b
    assert balancer.pick([a, b], tried=[a, b], now=0) is None
    assert balancer.pick([], now=0) is None
