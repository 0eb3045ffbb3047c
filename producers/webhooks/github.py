"""GitHub's webhooks: verified over the raw bytes, read, and stored together with their event."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import zstandard
from pydantic import SecretStr

from db.queries.github import NewDelivery
from events.event import Event
from events.github import PULL_REQUEST_ACTIONS
from producers.webhooks import installation_payloads, payloads, signatures
from producers.webhooks.intake import Arrival, Intake
from zeitwork import ids, metrics
from zeitwork.errors import InvalidInput, MalformedBody

MAX_BODY_BYTES = 25 * 1024 * 1024  # GitHub sends no larger ones
_SMALL_BODY_BYTES = 64 * 1024  # compressed in less time than another thread takes to answer
# For the loop's thread only: making one takes twice the time of a small body's compression.
_COMPRESSOR = zstandard.ZstdCompressor()
_GUID = re.compile(r"[A-Za-z0-9-]{1,64}")
_NAME = re.compile(r"[a-z_]{1,64}")


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery; `outcome` is accepted, ignored (with a reason) or duplicate."""

    guid: str
    outcome: str
    reason: str | None = None


async def receive(
    intake: Intake, *, secret: SecretStr, headers: Mapping[str, str], body: bytes
) -> Receipt:
    """Take in one delivery; `headers` are those of HTTP, so their case does not matter.

    Raises:
        BadSignature, InvalidInput, MalformedBody: nothing was stored.
        DatabaseUnavailable, IntakeFull: see `Intake.store`.
    """
    signatures.verify(secret.get_secret_value(), body, headers.get("X-Hub-Signature-256"))
    guid = _header(headers.get("X-GitHub-Delivery"), _GUID, "X-GitHub-Delivery")
    name = _header(headers.get("X-GitHub-Event"), _NAME, "X-GitHub-Event")
    payload = _parse(body)
    delivery_id = ids.new(ids.Prefix.DELIVERY)
    event = _event(name, payload, delivery_id=delivery_id)
    delivery = NewDelivery(
        id=delivery_id,
        guid=guid,
        event=name,
        action=_action(payload),
        body=await _compressed(body),
        ignored=None if event is not None else _why_ignored(name, _action(payload)),
    )
    new = await intake.store(Arrival(delivery, event))
    outcome = ("accepted" if event is not None else "ignored") if new else "duplicate"
    reason = delivery.ignored if new else None
    metrics.WEBHOOK_DELIVERIES.labels(name if name in _KNOWN else "other", outcome).inc()
    return Receipt(guid, outcome, reason)


_KNOWN = frozenset({"ping", "pull_request", "push", *installation_payloads.EVENTS})


def _event(name: str, payload: dict[str, object], *, delivery_id: str) -> Event | None:
    """What the delivery says to the platform, if anything."""
    if name == "push":
        return payloads.push(payload, delivery_id=delivery_id)
    if name == "pull_request" and _action(payload) in PULL_REQUEST_ACTIONS:
        return payloads.pull_request(payload, delivery_id=delivery_id)
    if name in installation_payloads.EVENTS:
        return installation_payloads.changed(name, payload, delivery_id=delivery_id)
    return None


def _why_ignored(name: str, action: str | None) -> str:
    if name == "ping":
        return "ping"
    if name == "pull_request":
        return f"the action {action} of a pull request changes no preview"
    if name in installation_payloads.EVENTS:
        return f"the action {action} of the event {name} is not used"
    return f"the event {name} is not used"


def _header(value: str | None, form: re.Pattern[str], name: str) -> str:
    if value is None or not form.fullmatch(value):
        raise InvalidInput(f"The {name} header is missing or malformed.")
    return value


async def _compressed(body: bytes) -> bytes:
    if len(body) <= _SMALL_BODY_BYTES:
        return _COMPRESSOR.compress(body)
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
