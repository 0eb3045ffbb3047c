"""Which installation or repository a webhook is about; what it says of it is read later. Pure.

https://docs.github.com/en/webhooks/webhook-events-and-payloads#installation
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from events.event import Event
from events.installations import InstallationChanged, RepositoryChanged
from zeitwork.errors import MalformedBody

INSTALLATION = frozenset({"installation", "installation_repositories"})
_REPOSITORY = "repository"
EVENTS = INSTALLATION | {_REPOSITORY}
_FOLLOWED = frozenset({"renamed", "transferred", "deleted", "created", "privatized", "publicized"})
_ID = Field(ge=1, lt=1 << 63)


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Thing(_Part):
    id: int = _ID


class _Installation(_Part):
    action: str = Field(pattern=r"^[a-z_]{1,64}$")
    installation: _Thing


class _Repository(_Part):
    action: str = Field(pattern=r"^[a-z_]{1,64}$")
    repository: _Thing
    installation: _Thing | None = None


def changed(name: str, body: object, *, delivery_id: str) -> Event | None:
    """The event in a payload of one of `EVENTS`; None when its action changes nothing for us.

    Raises:
        MalformedBody: a needed field is missing or of the wrong form; the message names it.
    """
    try:
        if name in INSTALLATION:
            about = _Installation.model_validate(body)
            return InstallationChanged(
                delivery_id=delivery_id,
                installation_id=about.installation.id,
                action=about.action,
            )
        said = _Repository.model_validate(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedBody(f"{name} payload: {where}: {first['msg']}") from error
    if said.action not in _FOLLOWED:
        return None
    return RepositoryChanged(
        delivery_id=delivery_id,
        repository_id=said.repository.id,
        installation_id=said.installation.id if said.installation else None,
        action=said.action,
    )
