"""Tells GitHub how a deployment stands, beside its way: nothing here can hold one up.

An event only says that something moved. What is posted is how the deployment stands when it is
posted, by one process at a time, so the last word that GitHub hears is the newest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from consumers.github import standing
from consumers.github.standing import Standing
from consumers.outcomes import Done, Later, Outcome
from db.models import GitHubReport
from db.queries.github_reports import Subject, report_note, report_subject, report_take
from db.session import UnitOfWork
from events.deployments import DeploymentFact
from events.envelope import Envelope
from zeitwork import logs, metrics
from zeitwork.errors import GitHubLimited, GitHubRefused
from zeitwork.github.app import GitHubApp
from zeitwork.github.posts import Posts

_log = logs.get(__name__)
_LEASE_SECONDS = 90.0  # more than the durable lets one handling take
_BUSY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A report that is ours to make."""

    subject: Subject
    report: GitHubReport
    lease: datetime | None
    standing: Standing
    posts: Posts


class Reporter:
    """Posts the chosen `kinds` of reports; `visit` gives the address of a host for visitors."""

    def __init__(
        self,
        work: UnitOfWork,
        app: GitHubApp,
        *,
        kinds: Collection[str],
        visit: Callable[[str], str],
    ) -> None:
        self._work = work
        self._app = app
        self._visit = visit
        known: dict[str, Callable[[_Held], Awaitable[None]]] = {
            "checks": _post_check,
            "deployments": _post_deployment,
            "statuses": _post_status,
        }
        self._kinds = {kind: post for kind, post in known.items() if kind in kinds}

    async def deployment_changed(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, DeploymentFact)  # noqa: S101 - bound so by the registry
        held = await self._take(event.deployment_id)
        if not isinstance(held, _Held):
            return held
        try:
            return await self._post(held)
        finally:
            async with self._work.transaction() as tx:
                await report_note(tx.session, held.report, lease=held.lease)

    async def _take(self, deployment_id: str) -> _Held | Outcome:
        async with self._work.transaction() as tx:
            subject = await report_subject(tx.session, deployment_id)
            if subject is None:
                return Done()
            report = await report_take(tx.session, subject.deployment, seconds=_LEASE_SECONDS)
            if report is None:
                return Later(_BUSY_SECONDS, "another process posts about this deployment")
            # Read again: it may have moved before the lease was had.
            subject = await report_subject(tx.session, deployment_id)
            if subject is None:
                tx.discard()
                return Done()
        deployment = subject.deployment
        seen = Standing(
            project=subject.project.slug,
            environment=subject.environment.name,
            state=deployment.state,
            served=deployment.activated_at is not None,
            error_code=deployment.error_code,
            error_detail=deployment.error_detail,
            url=self._visit(subject.environment.host),
        )
        posts = Posts(self._app, subject.installation_id, subject.repository)
        return _Held(subject, report, report.lease_until, seen, posts)

    async def _post(self, held: _Held) -> Outcome:
        mark = standing.mark(held.standing)
        for kind, post in self._kinds.items():
            if held.report.posted.get(kind) == mark:
                continue
            try:
                await post(held)
            except GitHubLimited as error:
                return Later(error.seconds, error.message)
            except GitHubRefused as error:
                # A permission that the App lacks, a commit that is gone: no attempt would help.
                held.report.refused = f"{kind}: {error.message}"
                metrics.GITHUB_REPORTS.labels(kind, "refused").inc()
                _log.warning(
                    "report refused",
                    kind=kind,
                    deployment_id=held.subject.deployment.id,
                    code=error.code,
                    detail=error.message,
                )
                continue
            held.report.posted = {**held.report.posted, kind: mark}
            metrics.GITHUB_REPORTS.labels(kind, "posted").inc()
        return Done()


async def _post_status(held: _Held) -> None:
    # All deployments of a commit to an environment share one status: it is the newest one's.
    if held.subject.newest:
        sha = held.subject.deployment.commit_sha
        await held.posts.status(sha, standing.status(held.standing))


async def _post_deployment(held: _Held) -> None:
    deployment, report = held.subject.deployment, held.report
    if report.github_deployment_id is None:
        report.github_deployment_id = await held.posts.deployment_find(
            deployment.id, sha=deployment.commit_sha, environment=held.standing.place
        ) or await held.posts.deployment(
            deployment.id, standing.deployment(held.standing, sha=deployment.commit_sha)
        )
    await held.posts.deployment_status(
        report.github_deployment_id, standing.deployment_status(held.standing)
    )


async def _post_check(held: _Held) -> None:
    deployment, report = held.subject.deployment, held.report
    content = standing.check(held.standing)
    if report.github_check_id is None:
        report.github_check_id = await held.posts.check_find(
            deployment.id, sha=deployment.commit_sha, name=held.standing.name
        )
    if report.github_check_id is not None:
        await held.posts.check_update(report.github_check_id, content)
    elif held.subject.newest:
        report.github_check_id = await held.posts.check(
            deployment.id, {**content, "head_sha": deployment.commit_sha}
        )
