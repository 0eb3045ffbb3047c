"""Which instance gets a request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from proxy import balancer


@dataclass(frozen=True)
class One:
    """An instance as the balancer sees it."""

    name: str
    in_flight: int = 0
    avoided_until: float = 0.0
    warm_at: float = 0.0
    full: bool = False


def chances() -> Callable[[], float]:
    return random.Random(7).random


def test_of_two_drawn_the_one_with_fewer_requests_is_picked() -> None:
    loads = [One("a", 3), One("b", 1)]
    chance = chances()
    picked = {balancer.pick(loads, now=0, chance=chance) for _ in range(50)}
    assert picked == {loads[1]}


def test_the_busiest_of_many_is_never_picked_and_equals_share() -> None:
    loads = [One("busiest", 9), One("a"), One("b"), One("c")]
    chance = chances()
    counts = Counter(balancer.pick(loads, now=0, chance=chance) for _ in range(3000))
    assert loads[0] not in counts
    assert all(abs(counts[one] - 1000) < 150 for one in loads[1:])


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_the_ends_of_chance_draw_an_instance(count: int) -> None:
    loads = [One(str(number)) for number in range(count)]
    for at in (0.0, 0.999999):
        assert balancer.pick(loads, now=0, chance=iter([at, at]).__next__) in loads


def test_one_that_failed_lately_is_passed_over_unless_there_is_no_other() -> None:
    busy, failed = One("a", 50), One("b", 0, avoided_until=10)
    chance = chances()
    assert balancer.pick([failed, busy], now=9, chance=chance) is busy
    assert balancer.pick([failed, busy], now=10, chance=chance) is failed
    assert balancer.pick([failed], now=9, chance=chance) is failed
    both = [failed, One("c", 4, avoided_until=20)]
    assert balancer.pick(both, now=9, chance=chance) is failed


def test_what_was_tried_or_is_full_is_not_picked() -> None:
    a, b, full = One("a"), One("b"), One("c", full=True)
    chance = chances()
    assert balancer.pick([a, b, full], tried=[a], now=0, chance=chance) is b
    assert balancer.pick([a, b, full], tried=[a, b], now=0, chance=chance) is None
    assert balancer.pick([full], now=0, chance=chance) is None
    assert balancer.pick([a], tried=[a], now=0, chance=chance) is None
    assert balancer.pick([], now=0, chance=chance) is None


def test_a_new_instance_gets_more_the_longer_it_is_there() -> None:
    chance = chances()
    parts = []
    for now in (0.0, 15.0, 30.0):
        loads = [One("old", 5), One("new", 5, warm_at=30.0)]
        picks = [
            balancer.pick(loads, now=now, chance=chance, warm_seconds=30.0) for _ in range(4000)
        ]
        parts.append(picks.count(loads[1]) / 4000)
    # A tenth beside a whole, a half beside a whole, then as any other.
    assert parts == pytest.approx([0.1 / 1.1, 0.5 / 1.5, 0.5], abs=0.03)
