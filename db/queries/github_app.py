"""Installations of the GitHub App and the repositories that they see.

Facts carry the moment that they are of; whatever comes late changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Update,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import (
    GitHubInstallation,
    GitHubRepository,
    Project,
)
from db.queries.projects import project_find_by_github_repo
from events.github import PullRequestReceived, PushReceived
from events.states import InstallationState, terminal

_CHUNK = 1000  # rows in one statement


@dataclass(frozen=True, slots=True)
class InstallationFacts:
    """What is known of an installation as of `seen_at`."""

    id: int
    account: str
    account_type: str
    repository_selection: str
    state: InstallationState
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """What is known of a repository; `full_name` in any case."""

    id: int
    full_name: str
    private: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A repository that is called otherwise than before, or belongs to another installation."""

    repository_id: int
    before: str
    after: str
    installation_before: int | None
    installation_after: int | None


async def moment(session: AsyncSession) -> datetime:
    """The time by the database's clock, the only one that all processes share."""
    found: datetime = (await session.execute(select(func.clock_timestamp()))).scalar_one()
    return found


async def installation_lock(
    session: AsyncSession, installation_id: int
) -> GitHubInstallation | None:
    """The installation's row, locked; its repositories change only under this lock."""
    query = (
        select(GitHubInstallation)
        .where(GitHubInstallation.id == installation_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def installation_put(
    session: AsyncSession, facts: InstallationFacts
) -> GitHubInstallation | None:
    """The (locked) row with these facts; None when what it has is newer, or the end."""
    await session.execute(
        insert(GitHubInstallation)
        .values(
            id=facts.id,
            account=facts.account,
            account_type=facts.account_type,
            repository_selection=facts.repository_selection,
            state=facts.state,
            seen_at=facts.seen_at,
            version=1,
        )
        .on_conflict_do_nothing()
    )
    row = await installation_lock(session, facts.id)
    if row is None or terminal(row.state) or row.seen_at > facts.seen_at:
        return None
    row.account = facts.account
    row.account_type = facts.account_type
    row.repository_selection = facts.repository_selection
    row.state = facts.state
    row.seen_at = facts.seen_at
    await session.flush()
    return row


async def installation_delete(session: AsyncSession, installation_id: int, at: datetime) -> None:
    """Mark as deleted, for good; its repositories as removed."""
    row = await installation_lock(session, installation_id)
    if row is None or terminal(row.state):
        return
    row.state = InstallationState.DELETED
    row.seen_at = at
    await session.flush()
    await repositories_keep(session, (), installation_id=installation_id, seen_at=at)


async def installation_claim(
    session: AsyncSession, installation_id: int, organisation_id: str
) -> GitHubInstallation | None:
    """The (locked) row, if it is the organisation's; it becomes so when it was nobody's."""
    row = await installation_lock(session, installation_id)
    if row is None or row.organisation_id not in {None, organisation_id}:
        return None
    if row.organisation_id is None:
        row.organisation_id = organisation_id
        await session.flush()
        await session.execute(
            update(GitHubRepository)
            .where(GitHubRepository.installation_id == installation_id)
            .values(organisation_id=organisation_id)
        )
    return row


async def repositories_put(
    session: AsyncSession,
    seen: Sequence[RepositoryFacts],
    *,
    installation: GitHubInstallation | None,
    seen_at: datetime,
) -> list[Move]:
    """Note repositories that are seen; where those went that are not where or what they were."""
    moves = []
    for start in range(0, len(seen), _CHUNK):
        chunk = seen[start : start + _CHUNK]
        rows = await _repositories_lock(session, chunk, installation, seen_at)
        for facts in chunk:
            move = _take_over(rows[facts.id], facts, installation, seen_at)
            if move is not None:
                moves.append(move)
        await session.flush()
    return moves


async def _repositories_lock(
    session: AsyncSession,
    facts: Sequence[RepositoryFacts],
    installation: GitHubInstallation | None,
    seen_at: datetime,
) -> dict[int, GitHubRepository]:
    """The rows, made where there were none, locked in the order of their ids."""
    await _insert(session, facts, installation, seen_at=seen_at)
    query = (
        select(GitHubRepository)
        .where(GitHubRepository.id.in_([each.id for each in facts]))
        .order_by(GitHubRepository.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return {row.id: row for row in (await session.execute(query)).scalars()}


async def _insert(
    session: AsyncSession,
    facts: Sequence[RepositoryFacts],
    installation: GitHubInstallation | None,
    *,
    seen_at: datetime,
    removed_at: datetime | None = None,
) -> None:
    """Rows for those that have none, in the order of their ids."""
    new = [
        {
            "id": each.id,
            "installation_id": None if installation is None else installation.id,
            "organisation_id": None if installation is None else installation.organisation_id,
            "full_name": each.full_name.lower(),
            "private": each.private,
            "removed_at": removed_at,
            "seen_at": seen_at,
        }
        for each in sorted(facts, key=lambda one: one.id)
    ]
    await session.execute(insert(GitHubRepository).values(new).on_conflict_do_nothing())


def _take_over(
    row: GitHubRepository,
    facts: RepositoryFacts,
    installation: GitHubInstallation | None,
    seen_at: datetime,
) -> Move | None:
    if row.seen_at > seen_at:
        return None
    before, installation_before = row.full_name, row.installation_id
    if installation is not None:
        row.installation_id = installation.id
        row.organisation_id = installation.organisation_id
    row.full_name, row.private = facts.full_name.lower(), facts.private
    row.removed_at, row.seen_at = None, seen_at
    if (row.full_name, row.installation_id) == (before, installation_before):
        return None
    return Move(row.id, before, row.full_name, installation_before, row.installation_id)


async def repositories_remove(
    session: AsyncSession,
    gone: Sequence[RepositoryFacts],
    *,
    installation: GitHubInstallation,
    seen_at: datetime,
) -> None:
    """Note that an installation does not see these; another one may.

    Of one that was never seen too: that it once was added may be heard later.
    """
    for start in range(0, len(gone), _CHUNK):
        chunk = gone[start : start + _CHUNK]
        await _insert(session, chunk, installation, seen_at=seen_at, removed_at=seen_at)
        chosen = GitHubRepository.id.in_([each.id for each in chunk])
        await session.execute(_removal(installation.id, seen_at).where(chosen))


async def repositories_keep(
    session: AsyncSession, kept: Collection[int], *, installation_id: int, seen_at: datetime
) -> None:
    """Note that an installation sees no others than these."""
    await session.execute(
        _removal(installation_id, seen_at).where(GitHubRepository.id.not_in(kept))
    )


async def repository_delete(session: AsyncSession, repository_id: int, at: datetime) -> None:
    """Note that a repository is gone, for good, whatever was seen when."""
    await session.execute(
        update(GitHubRepository)
        .where(GitHubRepository.id == repository_id, GitHubRepository.removed_at.is_(None))
        .values(removed_at=at, seen_at=func.greatest(GitHubRepository.seen_at, at))
    )


def _removal(installation_id: int, seen_at: datetime) -> Update:
    return (
        update(GitHubRepository)
        .where(
            GitHubRepository.installation_id == installation_id,
            GitHubRepository.seen_at <= seen_at,
            GitHubRepository.removed_at.is_(None),
        )
        .values(removed_at=seen_at, seen_at=seen_at)
    )


async def repository_find(session: AsyncSession, repository_id: int) -> GitHubRepository | None:
    return await session.get(GitHubRepository, repository_id)


async def repository_named(session: AsyncSession, full_name: str) -> GitHubRepository | None:
    """The repository that has this name now."""
    query = (
        select(GitHubRepository)
        .where(
            GitHubRepository.full_name == full_name.lower(), GitHubRepository.removed_at.is_(None)
        )
        .order_by(GitHubRepository.seen_at.desc())
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none()


def source_gone() -> ColumnElement[bool]:
    """Whether a `Project` lost its repository: deleted, taken from its installation, or both.

    A suspension is not the end, and neither is a repository that was never heard of.
    """
    here = (GitHubRepository.full_name == Project.github_repo) & (
        GitHubRepository.installation_id.is_not_distinct_from(Project.github_installation_id)
    )
    uninstalled = exists().where(
        GitHubInstallation.id == Project.github_installation_id,
        GitHubInstallation.state == InstallationState.DELETED,
    )
    removed = exists().where(here, GitHubRepository.removed_at.is_not(None))
    there = exists().where(here, GitHubRepository.removed_at.is_(None))
    return or_(uninstalled, removed & ~there)


async def project_lost_source(session: AsyncSession, project: Project) -> bool:
    query = select(source_gone()).select_from(Project).where(Project.id == project.id)
    return (await session.execute(query)).scalar_one()


async def projects_on(
    session: AsyncSession, event: PushReceived | PullRequestReceived
) -> tuple[str, Sequence[Project]]:
    """The projects that an event is about, and the name by which they know the repository.

    GitHub's id decides: an event may be older or younger than what we heard of a new name or owner.
    """
    known = None
    if event.github_repo_id is not None:
        known = await repository_find(session, event.github_repo_id)
    if known is not None and known.removed_at is None:
        here = known.installation_id or event.github_installation_id
        found = await project_find_by_github_repo(session, known.full_name, installation_id=here)
        if found:
            return known.full_name, found
    return event.github_repo, await project_find_by_github_repo(
        session, event.github_repo, installation_id=event.github_installation_id
    )
