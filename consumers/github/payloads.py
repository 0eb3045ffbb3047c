"""What installation and repository webhooks say, for where the App cannot be asked. Pure.

https://docs.github.com/en/webhooks/webhook-events-and-payloads#installation
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from zeitwork.errors import MalformedBody

_FullName = Annotated[str, Field(max_length=200, pattern=r"^[^/\s]+/[^/\s]+$")]
_Login = Annotated[str, Field(max_length=200, pattern=r"^[^/\s]+$")]


# Text with its zone, or seconds since 1970: GitHub writes both.
_Time = AwareDatetime


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(_Part):
    """Where the App is installed."""

    login: _Login
    type: str = Field("Organization", max_length=32)


class Installation(_Part):
    """An installation as the webhook has it."""

    id: int
    account: Account
    repository_selection: str = Field("selected", max_length=16)
    suspended_at: _Time | None = None
    updated_at: _Time | None = None


class Repository(_Part):
    """A repository as the webhook has it."""

    id: int
    full_name: _FullName
    private: bool = True
    updated_at: _Time | None = None


class InstallationPayload(_Part):
    """`installation` and `installation_repositories`."""

    action: str
    installation: Installation
    repositories: tuple[Repository, ...] = ()
    repositories_added: tuple[Repository, ...] = ()
    repositories_removed: tuple[Repository, ...] = ()

    @property
    def seen(self) -> tuple[Repository, ...]:
        """Repositories that the installation sees."""
        return self.repositories + self.repositories_added


class _Name(_Part):
    was: str = Field(alias="from", max_length=200)


class _RenamedRepository(_Part):
    name: _Name | None = None


class _Owners(_Part):
    organization: Account | None = None
    user: Account | None = None


class _Owner(_Part):
    was: _Owners = Field(alias="from")


class _Changes(_Part):
    repository: _RenamedRepository | None = None
    owner: _Owner | None = None


class RepositoryPayload(_Part):
    """`repository`."""

    action: str
    repository: Repository
    changes: _Changes = _Changes()

    @property
    def previous(self) -> str | None:
        """The full name before the change, where it changed."""
        owner, _, name = self.repository.full_name.partition("/")
        renamed = self.changes.repository.name if self.changes.repository else None
        before = self.changes.owner.was if self.changes.owner else None
        account = (before.organization or before.user) if before else None
        if renamed is None and account is None:
            return None
        return f"{account.login if account else owner}/{renamed.was if renamed else name}".lower()


def installation(body: bytes) -> InstallationPayload:
    """The payload.

    Raises:
        MalformedBody: it is not of that form.
    """
    try:
        return InstallationPayload.model_validate_json(body)
    except ValidationError as error:
        raise _malformed(error) from error


def repository(body: bytes) -> RepositoryPayload:
    """The payload; see `installation`."""
    try:
        return RepositoryPayload.model_validate_json(body)
    except ValidationError as error:
        raise _malformed(error) from error


def as_of(*times: datetime | None, received: datetime) -> datetime:
    """The moment that a payload is of: the latest that it names, else when it came."""
    return max((time for time in times if time is not None), default=received)


def _malformed(error: ValidationError) -> MalformedBody:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return MalformedBody(f"{where}: {first['msg']}")
