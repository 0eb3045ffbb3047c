"""The generated reference: up to date, a valid AsyncAPI document, and true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from events import channels, parties, reference, streams, subjects
from events.asyncapi import HEADERS, document
from events.builds import BuildStarted
from events.envelope import Envelope, wrap
from events.event import REGISTRY
from tests.support import emitted
from tests.unit.events import goldens

ROOT = Path(__file__).parents[3]
# The definition of AsyncAPI 3.0.0 as published in @asyncapi/specs 6.11.1, unchanged.
DEFINITION = json.loads((ROOT / "tests/support/asyncapi/3.0.0.json").read_text())
DOCUMENT = document()


@pytest.mark.parametrize("name", [reference.ASYNCAPI, reference.EVENTS])
def test_the_committed_reference_is_up_to_date(name: str) -> None:
    written = (ROOT / "docs/reference" / name).read_text()
    assert written == reference.texts()[name], "run make docs"


def test_the_document_is_valid_asyncapi() -> None:
    jsonschema.Draft7Validator(DEFINITION).validate(DOCUMENT)


@pytest.mark.parametrize(
    "planted",
    [
        {"asyncapi": "2.6.0"},
        {"info": {"title": "no version"}},
        {"operations": {"x": {"action": "shout", "channel": {"$ref": "#/channels/build.started"}}}},
        {"channels": {"x": {"adress": "zw.evt"}}},
        {"made_up": {}},
    ],
    ids=lambda planted: next(iter(planted)),
)
def test_the_definition_refuses_what_is_not_asyncapi(planted: dict[str, Any]) -> None:
    assert not jsonschema.Draft7Validator(DEFINITION).is_valid({**DOCUMENT, **planted})


def test_every_reference_leads_somewhere() -> None:
    for pointer in _references(DOCUMENT):
        found: Any = DOCUMENT
        for step in pointer.removeprefix("#/").split("/"):
            assert step in found, pointer
            found = found[step]


def test_operations_use_messages_of_their_channel() -> None:
    for name, operation in DOCUMENT["operations"].items():
        channel = operation["channel"]["$ref"]
        assert operation["messages"], name
        for message in operation["messages"]:
            assert message["$ref"].startswith(f"{channel}/messages/"), name


def test_every_event_has_a_channel_and_a_message() -> None:
    assert REGISTRY.keys() <= DOCUMENT["channels"].keys()
    assert REGISTRY.keys() <= DOCUMENT["components"]["messages"].keys()


def test_every_filter_of_a_durable_is_an_operation() -> None:
    for durable in streams.DURABLES:
        for pattern in durable.filters:
            if pattern == subjects.redrive(durable.name):
                assert f"{durable.name}.receives.redrives" in DOCUMENT["operations"]
            else:
                taken = [one.name for one in channels.CHANNELS if channels.takes([pattern], one)]
                assert taken
                for name in taken:
                    assert f"{durable.name}.receives.{name}" in DOCUMENT["operations"]


@pytest.mark.parametrize("event", channels.EVENTS, ids=lambda event: event.event_type)
def test_an_address_is_the_form_of_the_real_subject(event: Any) -> None:
    envelope = wrap(goldens.example(event).data, subject="x", source="t", project_id="x")
    real = subjects.of(envelope)
    assert real in channels.channel(event).examples


def test_the_headers_are_those_of_an_envelope() -> None:
    headers = goldens.example(BuildStarted).headers()
    assert HEADERS["properties"].keys() == headers.keys()
    jsonschema.Draft7Validator(HEADERS).validate(headers)
    bare = wrap(goldens.example(BuildStarted).data, subject="x", source="t").headers()
    assert set(HEADERS["required"]) == bare.keys()


@pytest.mark.parametrize("event", channels.EVENTS, ids=lambda event: event.event_type)
def test_a_message_fits_its_schemas(event: Any) -> None:
    envelope: Envelope = goldens.example(event)
    message = DOCUMENT["components"]["messages"][event.event_type]
    for schema, value in (
        (message["headers"], envelope.headers()),
        (message["payload"], json.loads(envelope.data.encode())),
    ):
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema.Draft202012Validator(whole).validate(value)


@pytest.mark.parametrize("process", sorted(emitted.PACKAGES))
def test_what_a_process_sends_is_in_the_table(process: str) -> None:
    assert emitted.made_in(emitted.PACKAGES[process]) <= parties.SENDERS[process]


@pytest.mark.parametrize("process", sorted(emitted.PACKAGES))
def test_the_table_has_nothing_that_a_process_cannot_send(process: str) -> None:
    known = emitted.named_in(emitted.PACKAGES[process]) | emitted.named_in("db")
    assert parties.SENDERS[process] <= known


def test_what_the_database_floor_emits_has_a_sender() -> None:
    said = frozenset[Any]().union(*parties.SENDERS.values())
    assert emitted.made_in("db") - said <= emitted.UNUSED


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, value in part.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(part, list):
        for each in part:
            yield from _references(each)
