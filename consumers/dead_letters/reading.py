"""What a message of ZW_DLQ says, as its row holds it; anyone may have written it; pure."""

from __future__ import annotations

from collections.abc import Mapping

from db.queries.dead_letters import NewDeadLetter
from events.delivery import Delivery
from events.envelope import TYPE_PREFIX
from zeitwork import ids
from zeitwork.errors import InvalidInput

# Lengths of the columns, see db/models/dead_letters.py.
_NAME, _SUBJECT = 64, 255
_MAX_INTEGER, _MAX_BIGINT = (1 << 31) - 1, (1 << 63) - 1
_COLUMNS = frozenset(
    {
        "zw-subject",
        "zw-stream",
        "zw-durable",
        "zw-sequence",
        "zw-attempts",
        "zw-error-code",
        "zw-error",
    }
)
_UNKNOWN = "unknown"
_STREAM, _DURABLE, _REASON = 2, 3, 4  # tokens of zw.dlq.<stream>.<durable>.<reason>


def read(delivery: Delivery) -> NewDeadLetter:
    """The row for a dead letter; a malformed header becomes None, or what the subject says.

    A letter that does not say where its message came from is its own origin: it cannot be redriven,
    but is seen.
    """
    headers = {_text(name).lower(): _text(value) for name, value in delivery.headers.items()}
    subject = _text(delivery.subject)
    tokens = subject.split(".")
    stream, durable = _name(headers.get("zw-stream")), _name(headers.get("zw-durable"))
    sequence = _number(headers.get("zw-sequence"), most=_MAX_BIGINT)
    if stream is None or durable is None or sequence is None:
        stream, sequence = delivery.stream, delivery.sequence
        durable = durable or _name(_token(tokens, _DURABLE)) or _UNKNOWN
    code = headers.get("zw-error-code") or _token(tokens, _REASON) or _UNKNOWN
    type_ = headers.get("ce-type", "").removeprefix(TYPE_PREFIX)
    return NewDeadLetter(
        stream=stream,
        durable=durable,
        sequence=sequence,
        subject=(headers.get("zw-subject") or subject)[:_SUBJECT],
        event_id=_id(ids.Prefix.EVENT, headers.get("ce-id")),
        event_type=_name(type_),
        correlation_id=_name(headers.get("ce-correlationid")),
        organisation_id=_id(ids.Prefix.ORGANISATION, headers.get("ce-organisation")),
        project_id=_id(ids.Prefix.PROJECT, headers.get("ce-project")),
        headers=_original(delivery.headers),
        payload=delivery.data,
        attempts=_number(headers.get("zw-attempts"), most=_MAX_INTEGER) or 0,
        error_code=code[:_NAME],
        error_detail=headers.get("zw-error", ""),
    )


def _original(headers: Mapping[str, str]) -> dict[str, str]:
    """The message's own headers: without the broker's, and without what the row says."""
    return {
        _text(name): _text(value)
        for name, value in headers.items()
        if not name.lower().startswith("nats-") and name.lower() not in _COLUMNS
    }


def _text(value: str) -> str:
    """Text that PostgreSQL can hold: without NUL and lone surrogates."""
    return value.encode(errors="replace").decode().replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _name(value: str | None) -> str | None:
    return value if value and len(value) <= _NAME and value.isprintable() else None


def _number(value: str | None, *, most: int) -> int | None:
    if value is None or not (value.isascii() and value.isdigit() and len(value) < len(str(most))):
        return None
    return int(value) or None


def _id(prefix: ids.Prefix, value: str | None) -> str | None:
    try:
        ids.to_uuid(prefix, value or "")
    except InvalidInput:
        return None
    return value


def _token(tokens: list[str], place: int) -> str | None:
    return tokens[place] if place < len(tokens) else None
