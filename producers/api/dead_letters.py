"""Dead letters: list, show, redrive, discard."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any, NoReturn

from aiohttp import web
from pydantic import BaseModel, Field

from db.models import DeadLetter
from db.queries.dead_letters import (
    DeadLetterFilter,
    dead_letter_discard,
    dead_letter_find,
    dead_letter_lock,
    dead_letter_redrive,
    dead_letters_page,
)
from db.session import Transaction
from events.states import DeadLetterState
from producers.api.call import Call
from producers.api.pages import page
from zeitwork.errors import NotFound
from zeitwork.fields import Body, PageSize

_MAX_LEVELS = 100  # of nesting in a body that is shown as JSON


class DeadLetterView(BaseModel):
    """A dead letter in a list; the event's fields are null when it had no readable envelope."""

    id: str
    state: str
    durable: str
    stream: str
    sequence: int
    subject: str
    event_id: str | None
    event_type: str | None
    correlation_id: str | None
    organisation_id: str | None
    project_id: str | None
    attempts: int
    error_code: str
    error_detail: str
    created_at: datetime
    decided_at: datetime | None
    decided_by: str | None


class DeadLetterQuery(Body):
    """How `index` filters and pages (newest first)."""

    state: DeadLetterState | None = None
    durable: str | None = Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    before: str | None = None
    limit: PageSize = 50


async def index(call: Call) -> web.Response:
    """`GET /dead-letters`."""
    query = call.query(DeadLetterQuery)
    wanted = DeadLetterFilter(state=query.state, durable=query.durable)
    async with call.database.read() as session:
        found = await dead_letters_page(session, wanted, before=query.before, limit=query.limit)
    cursor = found[-1].id if found else None
    return call.reply(200, page([view(each) for each in found], limit=query.limit, cursor=cursor))


async def show(call: Call) -> web.Response:
    """`GET /dead-letters/{letter}`: with headers and body."""
    async with call.database.read() as session:
        letter = await dead_letter_find(session, call.path("letter"))
    if letter is None:
        raise _missing(call)
    return call.reply(200, detail(letter))


async def redrive(call: Call) -> web.Response:
    """`POST /dead-letters/{letter}/redrive`."""
    async with call.work.transaction() as tx:
        letter = await _locked(call, tx)
        await dead_letter_redrive(tx, letter)
    return call.reply(202, view(letter))


async def discard(call: Call) -> web.Response:
    """`POST /dead-letters/{letter}/discard`."""
    async with call.work.transaction() as tx:
        letter = await _locked(call, tx)
        dead_letter_discard(tx, letter)
    return call.reply(200, view(letter))


async def _locked(call: Call, tx: Transaction) -> DeadLetter:
    letter = await dead_letter_lock(tx.session, call.path("letter"))
    if letter is None:
        raise _missing(call)
    return letter


def _missing(call: Call) -> NotFound:
    return NotFound(f"There is no dead letter {call.path('letter')!r}.")


def view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        state=str(letter.state),
        durable=letter.durable,
        stream=letter.stream,
        sequence=letter.sequence,
        subject=letter.subject,
        event_id=letter.event_id,
        event_type=letter.event_type,
        correlation_id=letter.correlation_id,
        organisation_id=letter.organisation_id,
        project_id=letter.project_id,
        attempts=letter.attempts,
        error_code=letter.error_code,
        error_detail=letter.error_detail,
        created_at=letter.created_at,
        decided_at=letter.decided_at,
        decided_by=letter.decided_by,
    )


def detail(letter: DeadLetter) -> dict[str, Any]:
    """The view with `headers`, `body`, and `body_encoding`: `json`, or else `base64`.

    Plain data, because a model would refuse to print some of the JSON that it can hold.
    """
    body, encoding = _shown(letter.payload)
    return {
        **view(letter).model_dump(mode="json"),
        "headers": letter.headers,
        "body": body,
        "body_encoding": encoding,
    }


def _shown(payload: bytes) -> tuple[Any, str]:
    try:
        body = json.loads(payload, parse_constant=_refuse)
    except (ValueError, RecursionError):
        body = _refuse
    if body is _refuse or not _shallow(body, _MAX_LEVELS):
        return base64.b64encode(payload).decode(), "base64"
    return body, "json"


def _refuse(constant: str) -> NoReturn:
    """NaN and the infinities are Python's own additions to JSON."""
    raise ValueError(constant)


def _shallow(value: Any, levels: int) -> bool:
    """True when the value can be written out again without running out of stack."""
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return True
    return levels > 0 and all(_shallow(each, levels - 1) for each in value)
