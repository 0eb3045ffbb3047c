"""The parts of GitHub's payloads that Zeitwork reads; everything else is ignored.

https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.github import PushReceived
from producers.clone_urls import without_credentials
from zeitwork.errors import MalformedBody

_MESSAGE_LENGTH = 500


def _encodable(value: Any) -> Any:
    """JSON can hold half a surrogate pair, UTF-8 and so our events cannot."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


_Text = Annotated[str, BeforeValidator(_encodable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Repository(_Part):
    full_name: _Text = Field(max_length=200, pattern=r"^[^/\s]+/[^/\s]+$")
    clone_url: _Text = Field(max_length=2000)


class _Installation(_Part):
    id: int


class _Commit(_Part):
    message: _Text = ""


class _Pusher(_Part):
    name: _Text = Field("unknown", max_length=200)


class _Push(_Part):
    ref: _Text = Field(max_length=1024, pattern=r"^refs/")
    after: str = Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")
    deleted: bool = False
    repository: _Repository
    installation: _Installation | None = None
    head_commit: _Commit | None = None
    pusher: _Pusher = _Pusher()


def push(body: object, *, delivery_id: str) -> PushReceived:
    """The event in a push payload.

    Raises:
        MalformedBody: a needed field is missing or of the wrong form; the message names it.
    """
    try:
        said = _Push.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedBody(f"push payload: {where}: {first['msg']}") from error
    return PushReceived(
        delivery_id=delivery_id,
        github_repo=said.repository.full_name.lower(),
        github_installation_id=said.installation.id if said.installation else None,
        ref=said.ref,
        after=said.after,
        deleted=said.deleted,
        # GitHub sends no credentials here, and whoever imitates it must not: events hold no secret.
        clone_url=without_credentials(said.repository.clone_url),
        commit_message=(said.head_commit.message if said.head_commit else "")[:_MESSAGE_LENGTH],
        pusher=said.pusher.name,
    )
