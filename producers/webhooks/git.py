"""Signed webhooks of any git host: verified over time and raw body, stored, answered.

The sender signs the timestamp, a dot and the body with HMAC-SHA256, and sends the signature in hex.
The key of a hook follows from the installation's `hook_key`, so that none is stored; rotating the
hook makes another. docs/how-to/deploy-triggers.md has the format and an example.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import zstandard
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from db.models import DeployHook, Project
from db.queries.github import NewDelivery, deliveries_insert
from db.session import UnitOfWork
from events.github import PushReceived, skip_mark
from producers.clone_urls import without_credentials
from producers.webhooks.payloads import Text, named, small
from zeitwork import clock, ids
from zeitwork.errors import BadSignature, HostUnsupported, MalformedBody

SIGNATURE: Final = "X-Zeitwork-Signature"
TIMESTAMP: Final = "X-Zeitwork-Timestamp"
EVENT: Final = "git.push"
# A clock may be wrong by so much; for as long, a repetition is known by its signature.
TOLERANCE: Final = timedelta(minutes=5)
_PREFIX = "v1="
_SECONDS = re.compile(r"[0-9]{1,12}")
_MESSAGE_LENGTH = 500
_Sha = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]


class _Push(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ref: Text = Field(max_length=512, pattern=r"^refs/")
    after: _Sha
    before: _Sha | None = None
    message: Text = ""
    pusher: Text = Field("unknown", max_length=200)
    files: list[Text] | None = None


@dataclass(frozen=True, slots=True)
class Signed:
    """What came over the wire."""

    timestamp: str | None
    signature: str | None
    body: bytes

    @classmethod
    def of(cls, headers: Mapping[str, str], body: bytes) -> Signed:
        return cls(headers.get(TIMESTAMP), headers.get(SIGNATURE), body)


def signing_key(hook_key: SecretStr, hook: DeployHook) -> str:
    """The key of a hook, for whoever made or rotated it.

    Raises:
        HostUnsupported: the installation has no key to make it from.
    """
    own = hook_key.get_secret_value()
    if not own:
        raise HostUnsupported("Set ZEITWORK_HOOK_KEY to use signed webhooks.")
    said = f"git-webhook:{hook.id}:{hook.generation}"
    return hmac.new(own.encode(), said.encode(), hashlib.sha256).hexdigest()


def sign(key: str, timestamp: str, body: bytes) -> str:
    """The value of `X-Zeitwork-Signature`."""
    said = timestamp.encode() + b"." + body
    return _PREFIX + hmac.new(key.encode(), said, hashlib.sha256).hexdigest()


def verify(key: str, signed: Signed) -> datetime:
    """Let a genuine and recent push pass; when it was sent.

    Raises:
        BadSignature: not signed with this key, or too long ago.
    """
    timestamp = signed.timestamp or ""
    given = (signed.signature or "").encode(errors="surrogateescape")
    if not _SECONDS.fullmatch(timestamp) or not hmac.compare_digest(
        sign(key, timestamp, signed.body).encode(), given
    ):
        raise BadSignature(f"{SIGNATURE} does not match {TIMESTAMP} and the body: check the key.")
    sent = datetime.fromtimestamp(int(timestamp), UTC)
    if abs(clock.now() - sent) > TOLERANCE:
        raise BadSignature(f"{TIMESTAMP} is more than 5 minutes from now: check the clock.")
    return sent


async def receive(
    work: UnitOfWork, project: Project, hook: DeployHook, signed: Signed, *, sent: datetime
) -> str:
    """Store a verified push with its event; its outcome is accepted or duplicate.

    Raises:
        MalformedBody: nothing was stored.
    """
    push = _parse(signed.body)
    # What was sent twice has one signature, so it is stored and acted on once.
    guid = hashlib.sha256(f"{hook.id} {signed.signature}".encode()).hexdigest()
    delivery = NewDelivery(
        id=ids.new(ids.Prefix.DELIVERY),
        guid=guid,
        event=EVENT,
        action=None,
        body=zstandard.compress(signed.body),
    )
    async with work.transaction() as tx:
        stored = await deliveries_insert(tx.direct, [delivery])
        if stored:
            said = _said(push, project, sent=sent, delivery_id=delivery.id)
            tx.emit(said, subject=delivery.id)
    return "accepted" if stored else "duplicate"


def _said(push: _Push, project: Project, *, sent: datetime, delivery_id: str) -> PushReceived:
    deleted = named(push.after) is None
    return PushReceived(
        delivery_id=delivery_id,
        github_repo=f"git:{project.id}",
        github_installation_id=None,
        ref=push.ref,
        after=push.after,
        deleted=deleted,
        clone_url=without_credentials(project.clone_url or ""),
        commit_message=push.message[:_MESSAGE_LENGTH],
        pusher=push.pusher,
        project_id=project.id,
        before=named(push.before),
        pushed_at=sent,
        files=small(push.files or ()),
        skip_mark=skip_mark(push.message),
    )


def _parse(body: bytes) -> _Push:
    try:
        return _Push.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedBody(f"push: {where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not JSON.") from error
