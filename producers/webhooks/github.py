"""GitHub's webhooks: verified over the raw bytes, stored in one transaction with their event."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard
from pydantic import SecretStr

from db.queries.github import delivery_finish, delivery_insert
from db.session import Transaction, UnitOfWork
from events.github import PULL_REQUEST_ACTIONS
from events.states import DeliveryState
from producers.webhooks import payloads, signatures
from zeitwork import failpoints, metrics
from zeitwork.errors import InvalidInput, MalformedBody
from zeitwork.failpoints import Failpoint

MAX_BODY_BYTES = 25 * 1024 * 1024  # GitHub sends no larger ones
_SMALL_BODY_BYTES = 64 * 1024  # compressed in less time than another thread takes to answer
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}")
_NAME = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery; `outcome` is accepted, ignored (with a reason) or duplicate."""

    guid: str
    outcome: str
    reason: str | None = None


async def receive(
    work: UnitOfWork, *, secret: SecretStr, headers: Mapping[str, str], body: bytes
) -> Receipt:
    """Take in one delivery; `headers` are those of HTTP, so their case does not matter.

    Raises:
        BadSignature, InvalidInput, MalformedBody: nothing was stored.
    """
    signatures.verify(secret.get_secret_value(), body, headers.get("X-Hub-Signature-256"))
    guid = _header(headers.get("X-GitHub-Delivery"), _GUID, "X-GitHub-Delivery")
    event = _header(headers.get("X-GitHub-Event"), _NAME, "X-GitHub-Event")
    payload = _parse(body)
    compressed = await _compressed(body)
    async with work.transaction() as tx:
        stored = await delivery_insert(
            tx.session, guid=guid, event=event, action=_action(payload), body=compressed
        )
        outcome, reason = "duplicate", None
        if stored is not None:
            reason = await _announce(tx, event, payload, delivery_id=stored)
            outcome = "accepted" if reason is None else "ignored"
        failpoints.reach(Failpoint.WEBHOOK_STORED)
    failpoints.reach(Failpoint.WEBHOOK_COMMITTED)
    metrics.WEBHOOK_DELIVERIES.labels(event if event in _KNOWN else "other", outcome).inc()
    return Receipt(guid, outcome, reason)


_KNOWN = frozenset({"ping", "pull_request", "push"})


async def _announce(
    tx: Transaction, event: str, payload: dict[str, object], *, delivery_id: str
) -> str | None:
    """Emit what was said, or finish the delivery with the reason why nothing is."""
    action = _action(payload)
    if event == "push":
        tx.emit(payloads.push(payload, delivery_id=delivery_id), subject=delivery_id)
        return None
    if event == "pull_request" and action in PULL_REQUEST_ACTIONS:
        tx.emit(payloads.pull_request(payload, delivery_id=delivery_id), subject=delivery_id)
        return None
    reason = _why_ignored(event, action)
    await delivery_finish(tx.session, delivery_id, DeliveryState.IGNORED, reason=reason)
    return reason


def _why_ignored(event: str, action: str | None) -> str:
    if event == "ping":
        return "ping"
    if event == "pull_request":
        return f"the action {action} of a pull request changes no preview"
    return f"the event {event} is not used"


def _header(value: str | None, form: re.Pattern[str], name: str) -> str:
    if value is None or not form.fullmatch(value):
        raise InvalidInput(f"The {name} header is missing or malformed.")
    return value


async def _compressed(body: bytes) -> bytes:
    if len(body) <= _SMALL_BODY_BYTES:
        return zstandard.compress(body)
    return await asyncio.to_thread(zstandard.compress, body)


def _parse(body: bytes) -> dict[str, object]:
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not JSON (set the content type to JSON).") from error
    if not isinstance(payload, dict):
        raise MalformedBody("The body must be a JSON object.")
    return payload


def _action(payload: dict[str, object]) -> str | None:
    action = payload.get("action")
    return action if isinstance(action, str) and _NAME.fullmatch(action) else None
