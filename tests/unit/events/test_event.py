"""Event classes: registration, and reading what older versions wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from events.event import (
    REGISTRY,
    Event,
    NewerEvent,
    UndecodableEvent,
    decode,
    readable,
    upcaster,
)
from events.tokens import InvalidName

pytestmark = pytest.mark.usefixtures("own_event_types")


def test_a_type_is_declared_once() -> None:
    class First(Event, type="test.first"):
        pass

    assert REGISTRY["test.first"] is First
    with pytest.raises(TypeError, match="twice"):

        class Second(Event, type="test.first"):
            pass


def test_a_type_is_two_words_and_its_version_counts_from_one() -> None:
    with pytest.raises(InvalidName):

        class Dotted(Event, type="test.a.b"):
            pass

    with pytest.raises(TypeError, match="version 0"):

        class Zeroth(Event, type="test.first", version=0):
            pass

    assert "test.first" not in REGISTRY


def test_a_base_class_is_no_event_type() -> None:
    before = set(REGISTRY)

    class Shared(Event):
        thing_id: str

    assert set(REGISTRY) == before


def test_old_versions_are_brought_up_step_by_step() -> None:
    class Thing(Event, type="test.thing", version=3):
        name: str
        size: int

    @upcaster("test.thing", 1)
    def _named(data: dict[str, Any]) -> dict[str, Any]:
        return {"name": data["title"]}

    @upcaster("test.thing", 2)
    def _sized(data: dict[str, Any]) -> dict[str, Any]:
        return {**data, "size": len(data["name"])}

    assert decode("test.thing", 1, b'{"title": "abc"}') == Thing(name="abc", size=3)
    assert decode("test.thing", 2, b'{"name": "ab"}') == Thing(name="ab", size=2)
    assert decode("test.thing", 3, b'{"name": "a", "size": 9}') == Thing(name="a", size=9)
    with pytest.raises(NewerEvent):
        decode("test.thing", 4, b"{}")


def test_a_missing_or_failing_step_is_undecodable() -> None:
    class Thing(Event, type="test.thing", version=3):
        name: str

    @upcaster("test.thing", 1)
    def _named(data: dict[str, Any]) -> dict[str, Any]:
        return {"name": data["title"]}

    with pytest.raises(UndecodableEvent):
        decode("test.thing", 1, b'{"other": 1}')
    with pytest.raises(UndecodableEvent):
        decode("test.thing", 2, b'{"name": "a"}')
    assert Thing.event_version == 3


def test_a_version_has_one_upcaster() -> None:
    upcaster("test.thing", 1)(lambda data: data)
    with pytest.raises(TypeError, match="two upcasters"):
        upcaster("test.thing", 1)(lambda data: data)


def test_only_versions_with_every_step_are_readable() -> None:
    class Thing(Event, type="test.thing", version=4):
        name: str

    assert list(readable(Thing)) == [4]
    upcaster("test.thing", 1)(lambda data: data)
    assert list(readable(Thing)) == [4]
    upcaster("test.thing", 3)(lambda data: data)
    assert list(readable(Thing)) == [3, 4]
    upcaster("test.thing", 2)(lambda data: data)
    assert list(readable(Thing)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "payload", [b"[]", b"null", b'"text"', b"1", b"{}", b'{"title": null}', b"[" * 100_000, b""]
)
def test_a_payload_that_trips_an_upcaster_is_undecodable(payload: bytes) -> None:
    class Thing(Event, type="test.thing", version=2):
        name: str

    @upcaster("test.thing", 1)
    def _named(data: dict[str, Any]) -> dict[str, Any]:
        return {"name": data["title"].strip(), **data}

    assert decode("test.thing", 1, b'{"title": " a"}') == Thing(name="a")
    with pytest.raises(UndecodableEvent):
        decode("test.thing", 1, payload)


def test_fields_of_a_later_minor_change_are_ignored() -> None:
    class Thing(Event, type="test.thing"):
        name: str

    assert decode("test.thing", 1, b'{"name": "a", "added": true}') == Thing(name="a")


def test_the_payload_is_plain_json() -> None:
    class Thing(Event, type="test.thing"):
        name: str

    assert json.loads(Thing(name="ä").encode()) == {"name": "ä"}
