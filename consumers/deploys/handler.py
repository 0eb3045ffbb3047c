"""A branch, tag or commit that is to be deployed → the deployment of its commit."""

from __future__ import annotations

import re

from consumers.outcomes import Done, Outcome
from consumers.wiring import Refs
from db.models import Project, Trigger
from db.queries.deployments import Source, deployment_create
from db.queries.projects import environment_lock_if_there, project_find
from db.queries.triggers import trigger_find, trigger_finish, trigger_lock
from db.session import UnitOfWork
from events.envelope import Envelope
from events.states import TriggerState
from events.triggers import DeployRequested
from zeitwork import logs
from zeitwork.errors import SourceUnavailable
from zeitwork.github import addresses

_log = logs.get(__name__)
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class Deployer:
    """Looks the reference up, outside of any transaction, and deploys what it names."""

    def __init__(self, work: UnitOfWork, refs: Refs, *, web_url: str) -> None:
        self._work = work
        self._refs = refs
        self._web_url = web_url

    async def deploy_requested(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, DeployRequested)  # noqa: S101 - bound so by the registry
        async with self._work.database.read() as session:
            trigger = await trigger_find(session, event.trigger_id)
            if trigger is None or trigger.state is not TriggerState.PENDING:
                return Done()
            if trigger.environment_id is None:
                return Done()
            project = await project_find(session, trigger.project_id)
        if project is None:
            return Done()
        clone_url = self._clone_url(project, trigger)
        try:
            commit_sha = await self._commit(project, clone_url, trigger.ref)
        except SourceUnavailable as error:
            return await self._fail(trigger.id, error.message)
        return await self._deploy(project, trigger, clone_url, commit_sha)

    async def _commit(self, project: Project, clone_url: str | None, ref: str) -> str:
        if clone_url is None:
            raise SourceUnavailable("The project has no repository: say where to clone from.")
        if _SHA.fullmatch(ref):
            return ref
        return await self._refs.commit_of(clone_url, ref, project_id=project.id)

    async def _deploy(
        self, project: Project, seen: Trigger, clone_url: str | None, commit_sha: str
    ) -> Outcome:
        async with self._work.transaction() as tx:
            # Environment first, as everywhere; it takes its trigger along when it goes.
            environment = await environment_lock_if_there(tx.session, seen.environment_id or "")
            trigger = await trigger_lock(tx.session, seen.id)
            if environment is None or trigger is None or trigger.state is not TriggerState.PENDING:
                return Done()
            if environment.closing_at is not None:
                trigger_finish(trigger, "the environment is being removed")
                return Done()
            source = Source(
                commit_sha=commit_sha,
                ref=trigger.ref,
                commit_message=trigger.message,
                clone_url=clone_url or "",
                actor=trigger.actor,
            )
            deployment, _ = await deployment_create(
                tx, environment, source, root_directory=project.root_directory
            )
            trigger_finish(trigger, deployment)
        _log.info("reference deployed", trigger_id=seen.id, deployment_id=deployment.id)
        return Done()

    async def _fail(self, trigger_id: str, reason: str) -> Outcome:
        async with self._work.transaction() as tx:
            trigger = await trigger_lock(tx.session, trigger_id)
            if trigger is not None and trigger.state is TriggerState.PENDING:
                trigger_finish(trigger, reason)
        return Done()

    def _clone_url(self, project: Project, trigger: Trigger) -> str | None:
        said = trigger.clone_url or project.clone_url
        if said is not None or project.github_repo is None:
            return said
        return addresses.clone_url(self._web_url, project.github_repo)
