"""The NATS setting: credentials for the whole cluster, servers without them."""

from __future__ import annotations

import pytest

from events.nats_bus import NatsBus
from events.nats_url import Endpoint, parse
from zeitwork.errors import InvalidSettings


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("nats://127.0.0.1:4222", Endpoint(("nats://127.0.0.1:4222",))),
        ("nats://t0ken@a:1", Endpoint(("nats://a:1",), token="t0ken")),
        ("nats://u:p%40ss@a:1", Endpoint(("nats://a:1",), user="u", password="p@ss")),
        (
            "nats://t@a:1, tls://b:2,nats://t@c:3",
            Endpoint(("nats://a:1", "tls://b:2", "nats://c:3"), token="t"),
        ),
    ],
)
def test_credentials_count_for_all_servers(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint


@pytest.mark.parametrize("text", ["", "http://a:1", "nats://", "a:4222", "nats://a:1,,"])
def test_what_is_no_server_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match="ZEITWORK_NATS_URL"):
        parse(text)


def test_an_endpoint_is_shown_without_credentials() -> None:
    endpoint = parse("nats://t0ken@a:1,nats://b:2")
    assert str(endpoint) == "a:1, b:2"
    assert "t0ken" not in repr(endpoint)


def test_a_bus_refuses_what_is_no_url_before_anything_connects() -> None:
    with pytest.raises(InvalidSettings, match="ZEITWORK_NATS_URL"):
        NatsBus("http://127.0.0.1", name="test")
