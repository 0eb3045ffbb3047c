"""Sends the App's webhooks, signed, and keeps how each attempt went."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass, field

import aiohttp

from examples.fake_github.state import Delivery, Json, State

_ANSWER_SECONDS = 10.0  # GitHub waits no longer


@dataclass
class Hooks:
    """The webhook of the App: where it leads, and its secret."""

    state: State
    url: str = ""
    secret: str = field(default="", repr=False)

    async def send(self, event: str, payload: Json) -> Delivery:
        """Deliver something new; GitHub never tries again by itself."""
        return await self._attempt(str(uuid.uuid4()), event, payload, redelivery=False)

    async def again(self, delivery: Delivery) -> Delivery:
        """Another attempt: the same guid and body, an id of its own."""
        return await self._attempt(delivery.guid, delivery.event, delivery.payload, redelivery=True)

    async def _attempt(self, guid: str, event: str, payload: Json, *, redelivery: bool) -> Delivery:
        delivery = Delivery(self.state.new_id(), guid, event, payload, redelivery)
        body = json.dumps(payload).encode()
        digest = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/fake",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": f"sha256={digest}",
        }
        started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self.url, data=body, headers=headers) as answer,
            ):
                await answer.read()
                delivery.status_code = answer.status
                delivery.status = answer.reason or "OK"
        except aiohttp.ClientError:
            delivery.status_code, delivery.status = 502, "failed to connect to host"
        except TimeoutError:
            delivery.status_code, delivery.status = 504, "timed out"
        delivery.duration = round(time.monotonic() - started, 2)
        self.state.deliveries.append(delivery)
        return delivery
