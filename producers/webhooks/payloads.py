"""The parts of GitHub's payloads that Zeitwork reads; everything else is ignored.

https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.github import PushReceived
from zeitwork.errors import MalformedBody

_MESSAGE_LENGTH = 500


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Repository(_Part):
    full_name: str = Field(max_length=200, pattern=r"^[^/\s]+/[^/\s]+$")
    clone_url: str = Field(max_length=2000)


class _Installation(_Part):
    id: int


class _Commit(_Part):
    message: str = ""


class _Pusher(_Part):
    name: str = Field("unknown", max_length=200)


class _Push(_Part):
    ref: str = Field(max_length=1024, pattern=r"^refs/")
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
        clone_url=said.repository.clone_url,
        commit_message=(said.head_commit.message if said.head_commit else "")[:_MESSAGE_LENGTH],
        pusher=said.pusher.name,
    )
