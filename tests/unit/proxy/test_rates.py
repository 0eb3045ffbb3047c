"""Rates of clients and projects."""

from __future__ import annotations

import pytest

from proxy.rates import Rates, client_of


def test_a_burst_passes_then_the_rate_and_each_key_has_its_own() -> None:
    rates = Rates(10.0, burst_seconds=1.0)
    assert [rates.wait(("a",), 0.0) for _ in range(10)] == [0.0] * 10
    assert rates.wait(("a",), 0.0) == pytest.approx(0.1)
    assert rates.wait(("b",), 0.0) == 0.0
    assert rates.wait(("a",), 0.11) == 0.0
    assert rates.wait(("a",), 0.11) > 0


def test_over_time_no_more_passes_than_the_rate_and_one_burst() -> None:
    rates = Rates(5.0, burst_seconds=2.0)
    passed = sum(not rates.wait(("a",), step / 100) for step in range(10_000))
    assert passed == pytest.approx(5 * 100 + 10, abs=1)


def test_a_rate_below_one_a_second_still_lets_one_pass() -> None:
    rates = Rates(0.1, burst_seconds=1.0)
    assert rates.wait(("a",), 0.0) == 0.0
    assert rates.wait(("a",), 1.0) == pytest.approx(9.0)
    assert rates.wait(("a",), 10.1) == 0.0


def test_keys_cost_bounded_memory_whatever_comes() -> None:
    rates = Rates(1.0, burst_seconds=2.0, keys=100)
    for number in range(10_000):
        rates.wait((str(number),), 0.0)
    assert len(rates) == 100


def test_without_a_rate_everything_passes_and_nothing_is_kept() -> None:
    rates = Rates(0.0, burst_seconds=1.0)
    assert {rates.wait(("a",), 0.0) for _ in range(1000)} == {0.0}
    assert len(rates) == 0


def test_an_ipv6_network_is_one_client() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8:0:0:ffff::2") == "2001:db8::/64"
    assert client_of("2001:db8:0:1::1") != client_of("2001:db8::1")
    assert client_of("192.0.2.1") == "192.0.2.1"
    assert client_of("unknown") == "unknown"
