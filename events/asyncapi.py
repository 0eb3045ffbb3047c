"""The AsyncAPI 3.0 document of the event backbone, from the classes and tables that run it; pure.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from events import channels, parties, streams
from events.channels import Channel
from events.envelope import TYPE_PREFIX
from events.event import Event, readable
from events.streams import Durable

# Of the envelope and the subjects' grammar; each event has a version of its own.
VERSION: Final = "1.0.0"

Document = dict[str, Any]
_TEXT: Final[Document] = {"type": "string"}
_NUMBER: Final[Document] = {"type": "string", "pattern": "^[0-9]+$"}
HEADERS: Final[Document] = {
    "type": "object",
    "description": "CloudEvents 1.0 attributes in binary mode; the payload is the event's JSON.",
    "properties": {
        "ce-specversion": {"type": "string", "const": "1.0"},
        "ce-id": {**_TEXT, "description": "Id of the event; a repetition has the same"},
        "ce-type": {**_TEXT, "description": f"`{TYPE_PREFIX}` and the event type"},
        "ce-schemaversion": {**_NUMBER, "description": "Version of the event type"},
        "ce-time": {**_TEXT, "format": "date-time"},
        "ce-source": {**_TEXT, "description": "`zeitwork/` and the process that sent it"},
        "ce-subject": {**_TEXT, "description": "Id of the aggregate that it is about"},
        "ce-aggregateversion": {
            **_NUMBER,
            "description": "Grows with each change of the aggregate",
        },
        "ce-correlationid": {**_TEXT, "description": "Shared by all that one stimulus set off"},
        "ce-causationid": {**_TEXT, "description": "Id of the event whose handling sent this one"},
        "ce-actor": {**_TEXT, "description": "Who did it: a user, a consumer, the system"},
        "ce-organisation": {**_TEXT, "description": "Id of the organisation"},
        "ce-project": {**_TEXT, "description": "Id of the project"},
        "traceparent": {**_TEXT, "description": "W3C trace context"},
        "content-type": {"type": "string", "const": "application/json"},
    },
    "required": [
        "ce-specversion",
        "ce-id",
        "ce-type",
        "ce-schemaversion",
        "ce-time",
        "ce-source",
        "ce-subject",
        "ce-aggregateversion",
        "ce-correlationid",
        "ce-actor",
        "content-type",
    ],
}
_DEAD_LETTER_HEADERS: Final[Document] = {
    "type": "object",
    "description": "The headers of the message as it was, and these.",
    "properties": {
        "zw-subject": {**_TEXT, "description": "Subject that the message had"},
        "zw-stream": {**_TEXT, "description": "Stream that it was in"},
        "zw-durable": {**_TEXT, "description": "Durable that could not handle it"},
        "zw-sequence": {**_NUMBER, "description": "Its place in the stream"},
        "zw-attempts": {**_NUMBER, "description": "How often it was tried"},
        "zw-error-code": {**_TEXT, "description": "Code of the last error"},
        "zw-error": {**_TEXT, "description": "The last error, for people"},
    },
}
_DESCRIPTION: Final = (
    "What Zeitwork's processes tell each other over NATS JetStream. Facts (`zw.evt`) are kept for "
    "replay; work (`zw.job`) is for exactly one handler. Delivery is at least once and without an "
    "order: tell repetitions by `ce-id`, and take an event as a hint to look. Ignore fields that "
    "you do not know. A version of an event only ever gains fields that may be absent."
)


def document() -> Document:
    """The whole document, as JSON values."""
    operations = dict(sorted(_operations()))
    tags = sorted({tag["name"] for operation in operations.values() for tag in operation["tags"]})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Zeitwork events",
            "version": VERSION,
            "description": _DESCRIPTION,
            "tags": [{"name": name} for name in tags],
        },
        "defaultContentType": "application/json",
        "servers": {"nats": _SERVER},
        "channels": {each.name: _channel(each) for each in channels.CHANNELS},
        "operations": operations,
        "components": {
            "messages": {**_messages(), **_RAW_MESSAGES},
            "schemas": {"Headers": HEADERS, **_payloads()},
        },
    }


_SERVER: Final[Document] = {
    "host": "{host}:{port}",
    "protocol": "nats",
    "description": "`ZEITWORK_NATS_URL`",
    "variables": {"host": {"default": "127.0.0.1"}, "port": {"default": "4222"}},
}
_RAW_MESSAGES: Final[Document] = {
    channels.ADVISORIES.name: {
        "name": channels.ADVISORIES.name,
        "summary": channels.ADVISORIES.description,
        "payload": {"type": "object", "description": "As nats-server writes it"},
    },
    channels.DEAD_LETTERS.name: {
        "name": channels.DEAD_LETTERS.name,
        "summary": channels.DEAD_LETTERS.description,
        "headers": _DEAD_LETTER_HEADERS,
        "payload": {"description": "The body as it was, which need not be an event"},
    },
}


def _channel(channel: Channel) -> Document:
    return {
        "address": channel.address,
        "description": channel.description,
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in _message_names(channel)
        },
        "parameters": {
            name: {
                "description": parameter.description,
                **({"enum": list(parameter.values)} if parameter.values else {}),
            }
            for name, parameter in channel.parameters.items()
        },
        "x-jetstream": {"stream": channel.stream},
    }


def _message_names(channel: Channel) -> list[str]:
    return [event.event_type for event in channel.events] or [channel.name]


def _messages() -> Document:
    return {
        event.event_type: {
            "name": event.event_type,
            "title": event.__name__,
            "summary": channels.summary(event),
            "headers": {
                "allOf": [
                    {"$ref": "#/components/schemas/Headers"},
                    {
                        "properties": {
                            "ce-type": {"const": TYPE_PREFIX + event.event_type},
                            "ce-schemaversion": {"const": str(event.event_version)},
                        }
                    },
                ]
            },
            "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
            "correlationId": {"location": "$message.header#/ce-correlationid"},
            "x-readable-versions": list(readable(event)),
        }
        for event in channels.EVENTS
    }


def _payloads() -> Document:
    """Schemas of what a reader gets, so a field that may be absent is not required."""
    _, schemas = models_json_schema(
        [(event, "validation") for event in channels.EVENTS],
        ref_template="#/components/schemas/{model}",
    )
    found: Document = schemas["$defs"]
    return found


def _operations() -> Iterator[tuple[str, Document]]:
    for process, said in parties.SENDERS.items():
        for event in said:
            yield (
                f"{process}.sends.{event.event_type}",
                _operation("send", channels.channel(event), group=process),
            )
    for process, filters in parties.FOLLOWERS.items():
        for channel in channels.CHANNELS:
            if channels.takes(filters, channel):
                name = f"{process}.follows.{channel.name}"
                yield name, _operation("receive", channel, group=process)
    for durable in streams.DURABLES:
        yield from _received(durable)


def _received(durable: Durable) -> Iterator[tuple[str, Document]]:
    about: Document = {
        "description": durable.description,
        "x-jetstream": {
            "durable": durable.name,
            "stream": durable.stream,
            "ackWaitSeconds": durable.ack_wait,
        },
    }
    if not durable.endless:
        about["x-jetstream"]["attempts"] = durable.attempts
    group = re.sub(r"-v\d+$", "", durable.name)
    for channel in channels.CHANNELS:
        again = channels.redriven(durable) if channel is channels.REDRIVES else ()
        if again or channels.takes(durable.filters, channel):
            operation = _operation("receive", channel, group=group, only=again)
            yield f"{durable.name}.receives.{channel.name}", {**operation, **about}


def _operation(
    action: str, channel: Channel, *, group: str, only: Iterable[type[Event]] = ()
) -> Document:
    names = [event.event_type for event in only] or _message_names(channel)
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel.name}"},
        "messages": [{"$ref": f"#/channels/{channel.name}/messages/{name}"} for name in names],
        "tags": [{"name": group}],
    }
