"""A repository gets another name or owner: its projects go along, and what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Delete, Update, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, aliased

from db.models import Build, GitHubComment, GitRef, Preview, Project, PullRequest
from db.queries.github_app import Move, installation_lock, repository_named
from db.session import Transaction
from events.projects import ProjectSourceChanged
from zeitwork.github import addresses


async def projects_follow(tx: Transaction, move: Move, *, web_url: str) -> Sequence[Project]:
    """Let the projects on a repository go with it, and what is known of it; those that did.

    A project that named the installation which had it names the one that has it now, unless that
    one belongs to another organisation.
    """
    taken = await repository_named(tx.session, move.before)
    if move.before != move.after and taken is not None and taken.id != move.repository_id:
        return []  # the old name is another repository's by now, and so are its projects
    if move.before != move.after:
        await _facts_follow(tx.session, move, web_url)
    query = (
        select(Project)
        .where(Project.github_repo == move.before)
        .where(
            or_(
                Project.github_installation_id.is_(None),
                Project.github_installation_id.in_(
                    [each for each in (move.installation_before, move.installation_after) if each]
                ),
            )
        )
        .order_by(Project.id)
        .with_for_update()
    )
    found = (await tx.session.execute(query)).scalars().all()
    return [each for each in found if await _follow(tx, each, move, web_url)]


async def _facts_follow(session: AsyncSession, move: Move, web_url: str) -> None:
    """Branches, pull requests and comments get the new name; what has it already is newer."""
    former = addresses.clone_url(web_url, move.before)
    now = addresses.clone_url(web_url, move.after)
    moved: list[tuple[type[GitRef | PullRequest], InstrumentedAttribute[Any]]] = [
        (GitRef, GitRef.ref),
        (PullRequest, PullRequest.number),
    ]
    for model, key in moved:
        newer = aliased(model)
        taken = exists().where(newer.repository == move.after, getattr(newer, key.key) == key)
        await _quietly(session, delete(model).where(model.repository == move.before, taken))
        url = case(
            (func.lower(model.clone_url) == former.lower(), now),
            else_=model.clone_url,
        )
        changed = update(model).where(model.repository == move.before)
        await _quietly(session, changed.values(repository=move.after, clone_url=url))
    own = update(PullRequest).where(PullRequest.head_repo == move.before)
    await _quietly(session, own.values(head_repo=move.after))
    other = aliased(GitHubComment)
    there = exists().where(
        other.organisation_id == GitHubComment.organisation_id,
        other.repository == move.after,
        other.number == GitHubComment.number,
    )
    comments = update(GitHubComment).where(GitHubComment.repository == move.before, ~there)
    await _quietly(session, comments.values(repository=move.after))


async def _quietly(session: AsyncSession, statement: Update | Delete) -> None:
    """Without looking for the rows among those that the session holds."""
    await session.execute(statement, execution_options={"synchronize_session": False})


async def _follow(tx: Transaction, project: Project, move: Move, web_url: str) -> bool:
    if project.github_installation_id is not None and move.installation_after is not None:
        there = await installation_lock(tx.session, move.installation_after)
        if there is not None and there.organisation_id in {None, project.organisation_id}:
            project.github_installation_id = move.installation_after
    project.github_repo = move.after
    if project.clone_url is not None and _same(
        project.clone_url, addresses.page(web_url, move.before)
    ):
        project.clone_url = addresses.clone_url(web_url, move.after)
    if project not in tx.session.dirty or not tx.session.is_modified(project):
        return False
    tx.emit(
        ProjectSourceChanged(project_id=project.id, github_repo=move.after, previous=move.before),
        subject=project.id,
        version=project.version + 1,
        organisation_id=project.organisation_id,
        project_id=project.id,
    )
    await _work_follows(tx.session, project, move, web_url)
    return True


async def _work_follows(session: AsyncSession, project: Project, move: Move, web_url: str) -> None:
    """Builds that are still to fetch, and previews; the App's token is for the name of today."""
    former = func.lower(addresses.clone_url(web_url, move.before))
    builds = update(Build).where(
        Build.project_id == project.id,
        Build.finished_at.is_(None),
        func.lower(Build.clone_url) == former,
    )
    await _quietly(session, builds.values(clone_url=addresses.clone_url(web_url, move.after)))
    previews = update(Preview).where(
        Preview.project_id == project.id, Preview.repository == move.before
    )
    await _quietly(session, previews.values(repository=move.after))


def _same(clone_url: str, address: str) -> bool:
    return clone_url.lower().removesuffix("/").removesuffix(".git") == address.lower()
