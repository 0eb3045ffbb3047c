"""Each incompatible change of an event, planted on a type of the test's own, is found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, create_model

from events.event import Event, upcaster
from tests.support import declared
from tests.unit.events import goldens
from tests.unit.events.compatibility import incompatible, normal

pytestmark = pytest.mark.usefixtures("own_event_types")


class Place(BaseModel):
    """A part of the event."""

    host: str
    port: int


class Before(BaseModel):
    """As it was written."""

    id: str
    count: int
    state: Literal["on", "off"]
    note: str | None
    title: str = "none"
    place: Place
    places: tuple[Place, ...]
    labels: dict[str, str]


class Nearer(BaseModel):
    """A part that gained what may be absent."""

    host: str
    port: int
    zone: str | None = None


class Elsewhere(BaseModel):
    """A part whose field changed its type."""

    host: str
    port: str


class Gone:
    """In place of a type: the field is taken away."""


GONE = Gone


def _changed(**changes: Any) -> type[BaseModel]:
    """`Before` with other types of fields; GONE takes a field away, a new one is required."""
    fields: dict[str, Any] = {
        name: (info.annotation, ... if info.is_required() else info.default)
        for name, info in Before.model_fields.items()
    }
    fields |= {name: (each, ...) for name, each in changes.items()}
    kept = {name: each for name, each in fields.items() if each[0] is not GONE}
    return create_model("After", **kept)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"id": GONE}, ["id: removed"]),
        ({"note": GONE}, ["note: removed"]),
        ({"title": GONE}, ["title: removed"]),
        ({"new": str}, ["new: a new required field, which nobody wrote before"]),
        ({"new": str | None}, ["new: a new required field, which nobody wrote before"]),
        ({"title": str}, ["title: default changed", "title: has become required"]),
        ({"count": str}, ["count: type changed from integer to string"]),
        ({"count": float}, ["count: type changed from integer to number"]),
        ({"count": int | None}, ["count: type changed from integer to integer or null"]),
        ({"note": str}, ["note: type changed from null or string to string"]),
        ({"state": Literal["on"]}, ["state: 'off' is no possible value any more"]),
        (
            {"state": Literal["on", "off", "lost"]},
            ["state: 'lost' is a value that older programs refuse"],
        ),
        ({"state": str}, ["state: only ['on', 'off'] was possible, older programs refuse others"]),
        ({"id": Literal["a"]}, ["id: any value was possible, now only ['a']"]),
        ({"place": Elsewhere}, ["place.port: type changed from integer to string"]),
        (
            {"places": tuple[Elsewhere, ...]},
            ["places[].port: type changed from integer to string"],
        ),
        ({"places": list[str]}, ["places[]: type changed from object to string"]),
        ({"labels": dict[str, int]}, ["labels[]: type changed from string to integer"]),
    ],
    ids=str,
)
def test_an_incompatible_change_is_found(changes: dict[str, Any], found: list[str]) -> None:
    differences = incompatible(normal(Before), normal(_changed(**changes)))
    assert len(differences) == len(found)
    for difference, expected in zip(sorted(differences), found, strict=True):
        assert difference.startswith(expected)


def test_a_limit_that_appears_changes_or_goes_is_found() -> None:
    class Short(BaseModel):
        id: str = Field(max_length=5)

    class Shorter(BaseModel):
        id: str = Field(max_length=3)

    class Free(BaseModel):
        id: str

    assert incompatible(normal(Free), normal(Short)) == [
        "id: maxLength changed from nothing to 5"
    ]  # fmt: skip
    assert incompatible(normal(Short), normal(Shorter)) == ["id: maxLength changed from 5 to 3"]
    assert incompatible(normal(Short), normal(Free)) == ["id: maxLength changed from 5 to nothing"]


def test_another_default_gives_old_messages_another_meaning() -> None:
    class One(BaseModel):
        size: int = 1

    class Two(BaseModel):
        size: int = 2

    assert incompatible(normal(One), normal(Two)) == ["size: default changed from 1 to 2"]


def test_what_was_always_there_may_not_become_absent() -> None:
    class Always(BaseModel):
        size: int

    class Sometimes(BaseModel):
        size: int = 0

    differences = incompatible(normal(Always), normal(Sometimes))
    assert "size: may be absent now" in differences


def test_a_field_that_may_be_absent_is_a_compatible_addition() -> None:
    class After(Before):
        zone: str | None = None
        weights: tuple[int, ...] = ()

    assert incompatible(normal(Before), normal(After)) == []
    assert incompatible(normal(Before), normal(_changed(place=Nearer))) == []
    assert incompatible(normal(Before), normal(_changed(places=tuple[Nearer, ...]))) == []


def test_words_for_people_and_names_of_classes_do_not_count() -> None:
    class Renamed(BaseModel):
        """Another text."""

        host: str = Field(description="where")
        port: int

    assert incompatible(normal(Before), normal(_changed(place=Renamed))) == []
    assert "title" in normal(Before)["properties"]  # a field of that name is no prose


def test_an_event_that_contains_itself_is_refused() -> None:
    class Tree(BaseModel):
        below: list[Tree]

    with pytest.raises(TypeError, match="contains itself"):
        normal(Tree)


def test_a_change_without_a_version_is_not_written(tmp_path: Path) -> None:
    messages, schemas = tmp_path / "messages", tmp_path / "schemas"
    assert goldens.write(messages, schemas, [_first()]) == []
    written = _contents(tmp_path)
    assert len(written) == 2

    declared.forget("test.thing")

    class Broken(Event, type="test.thing"):
        name: int

    refused = goldens.write(messages, schemas, [Broken])
    assert refused == ["test.thing version 1: name: type changed from string to integer"]
    assert _contents(tmp_path) == written


def test_a_compatible_addition_renews_the_schema_and_keeps_the_message(tmp_path: Path) -> None:
    messages, schemas = tmp_path / "messages", tmp_path / "schemas"
    goldens.write(messages, schemas, [_first()])
    before = _contents(messages)
    declared.forget("test.thing")

    class Added(Event, type="test.thing"):
        name: str
        added: str | None = None

    assert goldens.broken(schemas, [Added]) == []
    assert goldens.outdated(schemas, [Added]) == ["test.thing.v1.json"]
    assert goldens.write(messages, schemas, [Added]) == []
    assert goldens.outdated(schemas, [Added]) == []
    assert _contents(messages) == before


def test_a_new_version_needs_an_upcaster_and_files_of_its_own(tmp_path: Path) -> None:
    messages, schemas = tmp_path / "messages", tmp_path / "schemas"
    goldens.write(messages, schemas, [_first()])
    declared.forget("test.thing")

    class Second(Event, type="test.thing", version=2):
        name: int

    assert goldens.broken(schemas, [Second]) == []
    assert goldens.missing(messages, [Second]) == ["test.thing.v2.json"]
    assert goldens.unreadable([Second]) == ["test.thing version 1"]

    @upcaster("test.thing", 1)
    def _number(data: dict[str, Any]) -> dict[str, Any]:
        return {"name": len(data["name"])}

    assert goldens.write(messages, schemas, [Second]) == []
    assert goldens.missing(schemas, [Second]) == []
    assert goldens.unreadable([Second]) == []
    (messages / "test.thing.v1.json").unlink()
    assert goldens.missing(messages, [Second]) == ["test.thing.v1.json"]


def _first() -> type[Event]:
    class First(Event, type="test.thing"):
        name: str

    return First


def _contents(directory: Path) -> dict[Path, str]:
    return {path: path.read_text() for path in directory.rglob("*.json")}
