"""What the fake GitHub knows: accounts, installations, repositories, tokens, deliveries."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

Json = dict[str, Any]
PERMISSIONS = {
    "checks": "write",
    "contents": "read",
    "deployments": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "write",
}


def now() -> datetime:
    return datetime.now(UTC)


def stamp(moment: datetime | None) -> str | None:
    return None if moment is None else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Account:
    """A user or an organisation."""

    id: int
    login: str
    type: str = "Organization"

    def json(self) -> Json:
        return {"id": self.id, "login": self.login, "type": self.type}


@dataclass
class Pull:
    """A pull request of a branch of the repository itself, to `main`.

    Attributes:
        files: what it changes; None to ask git.
    """

    number: int
    branch: str
    sha: str
    title: str = "A change"
    open: bool = True
    files: list[str] | None = None
    updated_at: datetime = field(default_factory=now)


@dataclass(eq=False)
class Repository:
    """A repository; what was posted to it is kept as it came, with an id.

    Attributes:
        path: the bare git repository that is served, if there is one.
    """

    id: int
    owner: Account
    name: str
    private: bool = True
    path: Path | None = None
    updated_at: datetime = field(default_factory=now)
    statuses: list[Json] = field(default_factory=list)
    deployments: list[Json] = field(default_factory=list)
    deployment_statuses: list[Json] = field(default_factory=list)
    check_runs: list[Json] = field(default_factory=list)
    comments: list[Json] = field(default_factory=list)
    pulls: dict[int, Pull] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        return f"{self.owner.login}/{self.name}"


@dataclass(eq=False)
class Installation:
    """The App in an account; `repositories` is None where it may see all of them."""

    id: int
    account: Account
    repositories: set[int] | None = None
    suspended_at: datetime | None = None
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    def json(self) -> Json:
        return {
            "id": self.id,
            "account": self.account.json(),
            "target_type": self.account.type,
            "repository_selection": "all" if self.repositories is None else "selected",
            "permissions": PERMISSIONS,
            "events": ["push", "pull_request", "repository"],
            "created_at": stamp(self.created_at),
            "updated_at": stamp(self.updated_at),
            "suspended_at": stamp(self.suspended_at),
        }


@dataclass
class Token:
    """A token of an installation; `repositories` is None where it covers all that it may see."""

    text: str = field(repr=False)
    installation: Installation
    repositories: set[int] | None
    permissions: dict[str, str]
    expires_at: datetime


@dataclass
class Delivery:
    """One attempt to deliver a webhook."""

    id: int
    guid: str
    event: str
    payload: Json
    redelivery: bool
    delivered_at: datetime = field(default_factory=now)
    status_code: int = 0
    status: str = ""
    duration: float = 0.0

    def json(self) -> Json:
        installation = self.payload.get("installation") or {}
        repository = self.payload.get("repository") or {}
        return {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": stamp(self.delivered_at),
            "redelivery": self.redelivery,
            "duration": self.duration,
            "status": self.status,
            "status_code": self.status_code,
            "event": self.event,
            "action": self.payload.get("action"),
            "installation_id": installation.get("id"),
            "repository_id": repository.get("id"),
            "throttled_at": None,
        }


class State:
    """All of it."""

    def __init__(self, web_url: str = "") -> None:
        self.web_url = web_url
        self.accounts: dict[str, Account] = {}
        self.repositories: dict[int, Repository] = {}
        self.installations: dict[int, Installation] = {}
        self.tokens: dict[str, Token] = {}
        self.deliveries: list[Delivery] = []
        self.moved: dict[str, int] = {}  # old full names, in lower case
        self.token_life = timedelta(hours=1)
        self._ids = itertools.count(1001)
        self._last = now()

    def tick(self) -> datetime:
        """The time of a change: each a second later, as GitHub tells no less than seconds."""
        self._last = max(now(), self._last + timedelta(seconds=1))
        return self._last

    def new_id(self) -> int:
        return next(self._ids)

    def account(self, login: str) -> Account:
        return self.accounts.setdefault(login, Account(self.new_id(), login))

    def repository(self, full_name: str) -> Repository | None:
        """By its name of today; in any case, as GitHub compares names."""
        wanted = full_name.lower()
        for each in self.repositories.values():
            if each.full_name.lower() == wanted:
                return each
        return None

    def renamed(self, full_name: str) -> Repository | None:
        """By a name that it had before."""
        return self.repositories.get(self.moved.get(full_name.lower(), 0))

    def visible(self, installation: Installation) -> Iterator[Repository]:
        for each in self.repositories.values():
            if each.owner is installation.account and (
                installation.repositories is None or each.id in installation.repositories
            ):
                yield each

    def allows(self, token: Token, repository: Repository) -> bool:
        return repository in list(self.visible(token.installation)) and (
            token.repositories is None or repository.id in token.repositories
        )

    def issue(
        self, installation: Installation, *, names: list[str] | None, permissions: Json | None
    ) -> Token | None:
        """A token; None when the installation cannot see one of the named repositories."""
        chosen: set[int] | None = None
        if names is not None:
            visible = {each.name.lower(): each.id for each in self.visible(installation)}
            if not {name.lower() for name in names} <= visible.keys():
                return None
            chosen = {visible[name.lower()] for name in names}
        token = Token(
            f"ghs_{secrets.token_urlsafe(27)}",
            installation,
            chosen,
            dict(permissions or PERMISSIONS),
            now() + self.token_life,
        )
        self.tokens[token.text] = token
        return token

    def valid(self, text: str) -> Token | None:
        token = self.tokens.get(text)
        if token is None or token.expires_at <= now():
            return None
        installed = self.installations.get(token.installation.id) is token.installation
        return token if installed and token.installation.suspended_at is None else None

    def repository_json(self, repository: Repository) -> Json:
        return {
            "id": repository.id,
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
            "owner": repository.owner.json(),
            "default_branch": "main",
            "clone_url": f"{self.web_url}/{repository.full_name}.git",
            "html_url": f"{self.web_url}/{repository.full_name}",
            "updated_at": stamp(repository.updated_at),
        }
