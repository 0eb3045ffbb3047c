"""The edge's own answers."""

from __future__ import annotations

import json

import pytest

from proxy import pages, refusals
from proxy.refusals import Refusal

_ALL = [value for value in vars(refusals).values() if isinstance(value, Refusal)]


def render(refusal: Refusal, accept: bytes | None = None, *, with_body: bool = True) -> bytes:
    return pages.render(
        refusal,
        accept=accept,
        request_id="0123",
        date=b"now",
        connection=b"connection: close\r\n",
        with_body=with_body,
    )


@pytest.mark.parametrize("refusal", _ALL, ids=lambda refusal: refusal.code)
def test_every_refusal_is_a_whole_page_and_a_whole_problem(refusal: Refusal) -> None:
    for accept, kind in ((None, b"text/html"), (b"application/json", b"application/problem+json")):
        head, _, body = render(refusal, accept).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % refusal.status)
        assert b"content-type: " + kind in head
        assert b"content-length: %d\r\n" % len(body) in head
        assert (b"retry-after: " in head) is (refusal.retry_after is not None)
        assert refusal.detail.encode() in body
        assert b"0123" in body
        if accept:
            assert json.loads(body)["code"] == refusal.code


def test_codes_are_unique() -> None:
    assert len({refusal.code for refusal in _ALL}) == len(_ALL) > 20


def test_what_may_help_to_try_again_says_when() -> None:
    assert {refusal.code for refusal in _ALL if refusal.status in {429, 503}} == {
        refusal.code for refusal in _ALL if refusal.retry_after is not None
    }


def test_head_gets_the_same_head_and_no_body() -> None:
    whole = render(refusals.UNKNOWN_HOST)
    bare = render(refusals.UNKNOWN_HOST, with_body=False)
    assert whole.startswith(bare)
    assert bare.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("accept", "json_"),
    [
        (b"*/*", False),
        (b"text/html,application/xhtml+xml,*/*;q=0.8", False),
        (b"application/json", True),
        (b"Application/Problem+JSON", True),
        (b"text/html;q=0.5, application/json", True),
        (b"text/html, application/json;q=0.9", False),
        (b"application/json;q=0", False),
        (b"application/json;q=nan", False),
        (b"application/json;q=x", False),
        (b";,;,\xff", False),
    ],
)
def test_who_asks_for_json_by_name_gets_it(accept: bytes, json_: object) -> None:
    assert (b"problem+json" in render(refusals.UNKNOWN_HOST, accept)) is json_
