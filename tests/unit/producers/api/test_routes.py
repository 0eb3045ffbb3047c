"""The route table as a whole."""

from __future__ import annotations

from producers.api.call import Access
from producers.api.routes import ROUTES


def test_each_route_is_there_once() -> None:
    names = [(endpoint.method, endpoint.path) for endpoint in ROUTES]
    assert len(names) == len(set(names))


def test_only_webhooks_hooks_and_the_reference_are_open_to_everybody() -> None:
    public = [endpoint.path for endpoint in ROUTES if endpoint.access is Access.PUBLIC]
    assert public == ["/asyncapi.json", "/hooks/{hook}", "/webhooks/git/{hook}", "/webhooks/github"]


def test_each_handler_says_which_route_it_serves() -> None:
    for endpoint in ROUTES:
        said = f"`{endpoint.method} {endpoint.path}`"
        assert said in (endpoint.handle.__doc__ or ""), endpoint
