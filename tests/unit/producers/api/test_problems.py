"""Errors as RFC 9457 documents."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from pydantic import BaseModel, ValidationError

from producers.api import problems
from producers.api.problems import InvalidFields
from zeitwork import errors
from zeitwork.errors import Category, DatabaseUnavailable, NotFound, Unauthenticated, ZeitworkError


def document(answer: web.Response) -> dict[str, Any]:
    assert answer.content_type == "application/problem+json"
    assert answer.text is not None
    read: dict[str, Any] = json.loads(answer.text)
    return read


def test_a_known_error_says_all_it_may() -> None:
    answer = problems.response(NotFound("There is no project 'shop'."))
    assert answer.status == 404
    assert document(answer) == {
        "type": "urn:zeitwork:error:not_found",
        "title": "There is no such thing, or the caller may not know of it.",
        "status": 404,
        "code": "not_found",
        "category": "caller",
        "retryable": False,
        "trace_id": None,
        "detail": "There is no project 'shop'.",
    }


def test_an_unknown_error_says_nothing_of_itself() -> None:
    answer = problems.response(RuntimeError("password hunter2"))
    assert answer.status == 500
    shown = document(answer)
    assert (shown["code"], shown["category"]) == ("internal_error", "platform")
    assert "hunter2" not in json.dumps(shown)


def test_what_is_away_may_be_asked_again() -> None:
    answer = problems.response(DatabaseUnavailable("PostgreSQL: refused"))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert document(answer)["retryable"] is True


def test_a_missing_credential_is_asked_for() -> None:
    assert problems.response(Unauthenticated("no")).headers["WWW-Authenticate"] == "Bearer"
    assert "WWW-Authenticate" not in problems.response(NotFound("no")).headers


FLOORS = {"zeitwork", "events", "db", "producers"}  # whose errors the API can meet


def _kinds(base: type[ZeitworkError]) -> list[type[ZeitworkError]]:
    below = [kind for child in base.__subclasses__() for kind in _kinds(child)]
    return [base, *below]


def test_every_error_has_a_title_a_code_and_a_status() -> None:
    kinds = [
        kind
        for kind in _kinds(ZeitworkError)
        if kind is not InvalidFields and kind.__module__.split(".")[0] in FLOORS
    ]
    assert len(kinds) > len([name for name in vars(errors) if name.endswith("Unavailable")])
    for kind in kinds:
        shown = document(problems.response(kind("what happened")))
        assert shown["title"].endswith("."), kind
        assert shown["code"].isidentifier(), kind
        assert 400 <= shown["status"] < 600, kind
        assert shown["category"] in set(Category), kind


class Nested(BaseModel):
    items: dict[str, list[int]]


@pytest.mark.parametrize(
    ("data", "pointer"),
    [
        ({"items": {"a/b": [1, "x"]}}, "/items/a~1b/1"),
        ({"items": {"m~n": ["x"]}}, "/items/m~0n/0"),
        ({"items": {"~1": ["x"]}}, "/items/~01/0"),
        ({"items": {"": ["x"]}}, "/items//0"),
        ({}, "/items"),
        ([], ""),
    ],
)
def test_pointers_are_those_of_rfc_6901(data: object, pointer: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Nested.model_validate(data)
    error = InvalidFields.of(caught.value)
    assert [each["pointer"] for each in error.errors] == [pointer]
    shown = document(problems.response(error))
    assert (shown["status"], shown["code"]) == (400, "invalid_fields")
    assert shown["errors"] == error.errors


def test_what_was_sent_is_not_sent_back() -> None:
    with pytest.raises(ValidationError) as caught:
        Nested.model_validate({"items": {"a": ["hunter2"]}})
    answer = problems.response(InvalidFields.of(caught.value))
    assert "hunter2" not in json.dumps(document(answer))
