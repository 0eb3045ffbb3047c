"""The envelope round every event: CloudEvents 1.0 attributes, sent as `ce-*` headers.

Binary content mode of the CloudEvents NATS binding: attributes are headers, the payload is the
event's JSON. Extension attributes: schemaversion, correlationid, causationid, actor,
organisation, project, aggregateversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from events.event import Event, UndecodableEvent, decode
from zeitwork import clock, context, ids, tracing

TYPE_PREFIX = "zeitwork."
NO_PROJECT = "none"


class Envelope(BaseModel):
    """Who said what about which aggregate, when, and because of what.

    `subject` is the aggregate's id; `correlation_id` is shared by everything that one outside
    stimulus set off; `causation_id` is the event whose handling emitted this one.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    type: str
    version: int
    time: datetime
    source: str
    subject: str
    aggregate_version: int
    correlation_id: str
    causation_id: str | None
    actor: str
    organisation_id: str | None
    project_id: str | None
    data: SerializeAsAny[Event]
    traceparent: str | None = None

    def headers(self) -> dict[str, str]:
        optional = {
            "ce-causationid": self.causation_id,
            "ce-organisation": self.organisation_id,
            "ce-project": self.project_id,
            "traceparent": self.traceparent,
        }
        return {
            "ce-specversion": "1.0",
            "ce-id": self.id,
            "ce-type": TYPE_PREFIX + self.type,
            "ce-schemaversion": str(self.version),
            "ce-time": self.time.isoformat(),
            "ce-source": self.source,
            "ce-subject": self.subject,
            "ce-aggregateversion": str(self.aggregate_version),
            "ce-correlationid": self.correlation_id,
            "ce-actor": self.actor,
            "content-type": "application/json",
            **{name: value for name, value in optional.items() if value is not None},
        }


def wrap(
    event: Event,
    *,
    subject: str,
    source: str,
    aggregate_version: int = 1,
    organisation_id: str | None = None,
    project_id: str | None = None,
) -> Envelope:
    """An envelope for a new event; correlation, causation and actor come from the context."""
    around = context.current()
    event_id = ids.new(ids.Prefix.EVENT)
    carrier: dict[str, str] = {}
    tracing.inject(carrier)
    return Envelope(
        id=event_id,
        type=event.event_type,
        version=event.event_version,
        time=clock.now(),
        source=source,
        subject=subject,
        aggregate_version=aggregate_version,
        correlation_id=around.correlation_id or event_id,
        causation_id=around.causation_id,
        actor=around.actor,
        organisation_id=organisation_id or around.organisation_id,
        project_id=project_id or around.project_id,
        data=event,
        traceparent=carrier.get("traceparent"),
    )


def unwrap(headers: Mapping[str, str], payload: bytes) -> Envelope:
    """The envelope of a received message; header names in any case.

    Raises:
        UnknownEvent, NewerEvent, UndecodableEvent: see `events.event.decode`.
    """
    found = {name.lower(): value for name, value in headers.items()}
    try:
        type_ = found["ce-type"].removeprefix(TYPE_PREFIX)
        version = int(found["ce-schemaversion"])
        fields: dict[str, Any] = {
            "id": found["ce-id"],
            "type": type_,
            "version": version,
            "time": _moment(found["ce-time"]),
            "source": found["ce-source"],
            "subject": found["ce-subject"],
            "aggregate_version": int(found["ce-aggregateversion"]),
            "correlation_id": found["ce-correlationid"],
            "causation_id": found.get("ce-causationid"),
            "actor": found["ce-actor"],
            "organisation_id": found.get("ce-organisation"),
            "project_id": found.get("ce-project"),
            "traceparent": found.get("traceparent"),
        }
    except (KeyError, ValueError) as error:
        raise UndecodableEvent(f"the message has no usable envelope: {error}") from error
    return Envelope(**fields, data=decode(type_, version, payload))


def _moment(text: str) -> datetime:
    """A time with its zone; one without cannot be compared with any other."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
