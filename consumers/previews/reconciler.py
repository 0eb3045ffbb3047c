"""Brings previews to what is asked for now, and takes down what is not asked for any more.

It repeats what events should have done, and does what no event leads to: an age passes, a place
gets free, the last instance stops.
"""

from __future__ import annotations

from consumers.previews.keeper import Wish, bring, of_branch, of_pull_request
from db.models import Environment, Preview, Project
from db.queries.github import (
    git_ref_find,
    pull_request_lock,
    pull_requests_without_preview,
)
from db.queries.previews import previews_of_environment, previews_unwanted, previews_waiting
from db.queries.projects import environment_lock_if_there, project_lock
from db.queries.removal import (
    environment_delete,
    environment_idle,
    environments_closing,
    project_delete,
    projects_closing,
)
from db.session import Transaction, UnitOfWork
from zeitwork import clock, logs

_log = logs.get(__name__)
_BATCH = 50


class PreviewReconciler:
    """One round of all of it; each preview and environment in a transaction of its own."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def round(self) -> None:
        await self._bring_all()
        await self._remove_environments()
        await self._remove_projects()

    async def _bring_all(self) -> None:
        async with self._work.database.read() as session:
            due = [
                *await previews_unwanted(session, clock.now(), limit=_BATCH),
                *await previews_waiting(session, limit=_BATCH),
            ]
            missing = await pull_requests_without_preview(session, limit=_BATCH)
        for preview in due:
            await self._bring(preview)
        for project_id, pull in missing:
            async with self._work.transaction() as tx:
                locked = await pull_request_lock(tx.session, pull.repository, pull.number)
                project = await project_lock(tx.session, project_id)
                if locked is not None and project is not None:
                    await bring(tx, project, of_pull_request(locked))

    async def _bring(self, seen: Preview) -> None:
        async with self._work.transaction() as tx:
            if seen.pull_number is not None:
                pull = await pull_request_lock(tx.session, seen.repository, seen.pull_number)
                wish = of_pull_request(pull) if pull is not None else None
                project = await project_lock(tx.session, seen.project_id)
            else:
                project = await project_lock(tx.session, seen.project_id)
                wish = await _branch_wish(tx, project, seen)
            if project is not None and wish is not None:
                await bring(tx, project, wish)

    async def _remove_environments(self) -> None:
        async with self._work.database.read() as session:
            idle = await environments_closing(session, limit=_BATCH)
        for environment in idle:
            ended = await self._remove_environment(environment)
            for preview in ended:
                # It may have been opened again meanwhile, and then waits for this.
                await self._bring(preview)

    async def _remove_environment(self, seen: Environment) -> list[Preview]:
        async with self._work.transaction() as tx:
            await project_lock(tx.session, seen.project_id)
            environment = await environment_lock_if_there(tx.session, seen.id)
            if environment is None or not await environment_idle(tx.session, seen.id):
                return []
            ended = list(await previews_of_environment(tx.session, environment.id))
            await environment_delete(tx, environment)
        _log.info("environment removed", environment_id=seen.id, reason=seen.closing_reason)
        return ended

    async def _remove_projects(self) -> None:
        async with self._work.database.read() as session:
            empty = await projects_closing(session, limit=_BATCH)
        for seen in empty:
            async with self._work.transaction() as tx:
                project = await project_lock(tx.session, seen.id)
                if project is not None:
                    await project_delete(tx, project)
            _log.info("project removed", project_id=seen.id)


async def _branch_wish(tx: Transaction, project: Project | None, seen: Preview) -> Wish | None:
    ref = await git_ref_find(tx.session, seen.repository, seen.source)
    return of_branch(project, ref) if project is not None and ref is not None else None
