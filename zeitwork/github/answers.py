"""What Zeitwork reads of GitHub's answers; everything else in them is ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from zeitwork.errors import GitHubUnavailable

AnyAnswer = TypeVar("AnyAnswer", bound="Answer")


class Answer(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Account(Answer):
    """Whose it is: a user or an organisation."""

    id: int
    login: str
    type: str


class Installation(Answer):
    """The App in one account."""

    id: int
    account: Account
    repository_selection: str
    suspended_at: datetime | None = None


class Repository(Answer):
    """A repository; `full_name` is `owner/name`."""

    id: int
    full_name: str
    private: bool
    default_branch: str = "main"


class Repositories(Answer):
    """A page of an installation's repositories."""

    total_count: int
    repositories: tuple[Repository, ...]


class Token(Answer):
    """An installation's token."""

    token: str = Field(repr=False)
    expires_at: datetime


class HookDelivery(Answer):
    """One attempt to deliver a webhook; all attempts of a delivery share its `guid`."""

    id: int
    guid: str
    delivered_at: datetime
    status_code: int
    event: str
    action: str | None = None


class Created(Answer):
    """What GitHub calls a thing that was just made."""

    id: int


class Deployment(Answer):
    """A deployment on GitHub; `payload` is what its maker put there."""

    id: int
    payload: dict[str, Any] | str = ""


class CheckRun(Answer):
    """A check run; `external_id` is its maker's name for it."""

    id: int
    external_id: str | None = None


class Author(Answer):
    """The App that wrote something."""

    id: int
    client_id: str | None = None


class Comment(Answer):
    """A comment; `performed_via_github_app` is None for a person's."""

    id: int
    body: str | None = None
    performed_via_github_app: Author | None = None


class ChangedFile(Answer):
    """A file of a pull request; a renamed one was called `previous_filename`."""

    filename: str
    previous_filename: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        former = self.previous_filename
        return (self.filename,) if former is None else (self.filename, former)


class CheckRuns(Answer):
    """A page of check runs."""

    check_runs: tuple[CheckRun, ...]


def of(model: type[AnyAnswer], content: Any) -> AnyAnswer:
    """The answer as `model`.

    Raises:
        GitHubUnavailable: it is something else: a proxy's page, or cut.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise GitHubUnavailable(
            f"GitHub answered something that is no {model.__name__}: {where}: {first['msg']}"
        ) from error


def every(model: type[AnyAnswer], content: Any) -> list[AnyAnswer]:
    """An answer that is a list of `model`; see `of`."""
    if not isinstance(content, list):
        raise GitHubUnavailable(f"GitHub answered something that is no list of {model.__name__}.")
    return [of(model, each) for each in content]
