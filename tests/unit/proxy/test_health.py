"""When an instance is passed over because of what it answered, and how much may be tried twice."""

from __future__ import annotations

from proxy.budget import RetryBudget
from proxy.health import Health


def fail(one: Health, times: int, now: float, *others: Health) -> list[bool]:
    return [one.failed(now, others=[one, *others]) for _ in range(times)]


def test_five_failures_in_a_row_eject_for_a_while() -> None:
    one, other = Health(), Health()
    assert fail(one, 5, 100.0, other) == [False] * 4 + [True]
    assert one.avoided_until == 130.0
    assert (one.ejected(129.9), one.ejected(130.0)) == (True, False)


def test_a_success_between_failures_begins_the_count_again() -> None:
    one, other = Health(), Health()
    fail(one, 4, 0.0, other)
    one.succeeded()
    assert fail(one, 5, 0.0, other) == [False] * 4 + [True]


def test_the_only_instance_and_more_than_half_are_never_ejected() -> None:
    alone = Health()
    assert not any(fail(alone, 50, 0.0))
    three = [Health(), Health(), Health()]
    assert fail(three[0], 5, 0.0, *three[1:])[-1]
    assert not any(fail(three[1], 50, 0.0, three[0], three[2]))
    # Once the first is back, the second may go.
    assert any(fail(three[1], 5, 31.0, three[0], three[2]))


def test_each_ejection_is_longer_up_to_a_bound_and_calm_takes_it_back() -> None:
    one, other = Health(), Health()
    now, lengths = 0.0, []
    for _ in range(12):
        fail(one, 5, now, other)
        lengths.append(one.avoided_until - now)
        now = one.avoided_until
    assert lengths[:3] == [30.0, 60.0, 90.0]
    assert lengths[-2:] == [300.0, 300.0]
    fail(one, 5, now + 1000, other)
    assert one.avoided_until == now + 1000 + 30.0


def test_a_refused_connection_is_avoided_for_a_moment_without_an_ejection() -> None:
    one = Health()
    one.refused(until=5.0)
    one.refused(until=3.0)
    assert (one.avoided_until, one.ejected(4.0)) == (5.0, False)


def test_retries_are_a_fifth_of_the_requests_in_hand_and_three_in_any_case() -> None:
    budget = RetryBudget()
    assert [budget.take() for _ in range(4)] == [True, True, True, False]
    budget.active = 50
    assert [budget.take() for _ in range(8)] == [True] * 7 + [False]
    budget.give_back()
    assert budget.take()
