"""Keeps installations and repositories as GitHub has them, and projects on their repositories.

A webhook says "look there": what is written is what the App's API says at that moment. Without an
App, or where it may not ask, the webhook's own words serve, unless newer ones were heard.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

import zstandard

from consumers.github import payloads
from consumers.github.payloads import InstallationPayload, RepositoryPayload
from consumers.outcomes import Done, Drop, Later, Outcome
from db.models import GitHubInstallation, WebhookDelivery
from db.queries.github import delivery_finish, delivery_lock
from db.queries.github_app import (
    InstallationFacts,
    Move,
    RepositoryFacts,
    installation_delete,
    installation_lock,
    installation_put,
    moment,
    repositories_keep,
    repositories_put,
    repositories_remove,
    repository_delete,
    repository_find,
)
from db.queries.github_moves import projects_follow
from db.session import Take, Transaction, UnitOfWork
from events.envelope import Envelope
from events.installations import InstallationChanged, RepositoryChanged
from events.states import DeliveryState, InstallationState
from zeitwork import logs
from zeitwork.errors import GitHubLimited, GitHubRefused, MalformedBody
from zeitwork.github import answers, installations
from zeitwork.github.app import GitHubApp

_log = logs.get(__name__)
_MOST_BODY_BYTES = 32 * 1024 * 1024  # a webhook has 25 MiB at most
_DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class _Sight:
    """What the API said; `repositories` is None while the installation is suspended."""

    at: datetime
    installation: answers.Installation | None
    repositories: list[answers.Repository] | None


class Keeper:
    """The handlers of the durable; `consumer` is its name in the inbox."""

    def __init__(
        self, work: UnitOfWork, *, app: GitHubApp | None, web_url: str, consumer: str
    ) -> None:
        self._work = work
        self._app = app
        self._web_url = web_url
        self._consumer = consumer

    async def installation_changed(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, InstallationChanged)  # noqa: S101 - bound so by the registry
        sight = await self._look(event.installation_id)
        if isinstance(sight, Later):
            return sight
        async with self._work.transaction(take=Take(self._consumer, [envelope.id])) as tx:
            delivery = await _delivery(tx, event.delivery_id)
            if not isinstance(delivery, WebhookDelivery):
                return delivery
            try:
                said = payloads.installation(await _body(delivery))
            except MalformedBody as error:
                return await _ignore(tx, delivery, error)
            if sight is not None:
                await self._write(tx, event.installation_id, sight)
            else:
                await self._believe(tx, said, delivery.created_at)
            await delivery_finish(tx.session, delivery.id, DeliveryState.PROCESSED, reason=None)
        _log.info("installation noted", installation_id=event.installation_id, action=event.action)
        return Done()

    async def repository_changed(self, envelope: Envelope) -> Outcome:
        event = envelope.data
        assert isinstance(event, RepositoryChanged)  # noqa: S101 - bound so by the registry
        sight = await self._look(event.installation_id)
        if isinstance(sight, Later):
            return sight
        async with self._work.transaction(take=Take(self._consumer, [envelope.id])) as tx:
            delivery = await _delivery(tx, event.delivery_id)
            if not isinstance(delivery, WebhookDelivery):
                return delivery
            try:
                said = payloads.repository(await _body(delivery))
            except MalformedBody as error:
                return await _ignore(tx, delivery, error)
            if sight is not None and event.installation_id is not None:
                await self._write(tx, event.installation_id, sight)
            else:
                await self._believe_repository(tx, event, said, delivery.created_at)
            await self._follow_name(tx, event, said)
            await delivery_finish(tx.session, delivery.id, DeliveryState.PROCESSED, reason=None)
        _log.info("repository noted", repository_id=event.repository_id, action=event.action)
        return Done()

    async def _look(self, installation_id: int | None) -> _Sight | Later | None:
        """Ask the API; None where that cannot be done."""
        if self._app is None or installation_id is None:
            return None
        async with self._work.database.read() as session:
            at = await moment(session)  # before the question: the answer is not older
        try:
            found = await installations.installation(self._app, installation_id)
            if found is None or found.suspended_at is not None:
                return _Sight(at, found, None)
            seen = [each async for each in installations.repositories(self._app, installation_id)]
        except GitHubLimited as error:
            return Later(error.seconds, error.message)
        except GitHubRefused as error:
            _log.warning(
                "the App may not look, its webhook is believed",
                installation_id=installation_id,
                code=error.code,
                detail=error.message,
            )
            return None
        return _Sight(at, found, seen)

    async def _write(self, tx: Transaction, installation_id: int, sight: _Sight) -> None:
        found = sight.installation
        if found is None:
            await installation_delete(tx.session, installation_id, sight.at)
            return
        row = await installation_put(
            tx.session,
            InstallationFacts(
                found.id,
                found.account.login,
                found.account.type,
                found.repository_selection,
                _state(found.suspended_at),
                sight.at,
            ),
        )
        if row is None or sight.repositories is None:
            return
        await self._see(tx, row, [_facts(each) for each in sight.repositories], sight.at)
        kept = [each.id for each in sight.repositories]
        await repositories_keep(tx.session, kept, installation_id=row.id, seen_at=sight.at)

    async def _believe(
        self, tx: Transaction, said: InstallationPayload, received: datetime
    ) -> None:
        told = said.installation
        at = payloads.as_of(told.updated_at, told.suspended_at, received=received)
        facts = InstallationFacts(
            told.id,
            told.account.login,
            told.account.type,
            told.repository_selection,
            _state(told.suspended_at),
            at,
        )
        row = await installation_put(tx.session, facts)
        if said.action == _DELETED:
            await installation_delete(tx.session, told.id, at)
            return
        # Also of an installation that is known better: each repository has a time of its own.
        row = row or await installation_lock(tx.session, told.id)
        if row is None or row.state is InstallationState.DELETED:
            return
        await self._see(tx, row, [_facts(each) for each in said.seen], at)
        gone = [_facts(each) for each in said.repositories_removed]
        await repositories_remove(tx.session, gone, installation=row, seen_at=at)

    async def _believe_repository(
        self,
        tx: Transaction,
        event: RepositoryChanged,
        said: RepositoryPayload,
        received: datetime,
    ) -> None:
        told = said.repository
        at = payloads.as_of(told.updated_at, received=received)
        row = (
            await installation_lock(tx.session, event.installation_id)
            if event.installation_id is not None
            else None
        )
        await self._see(tx, row, [_facts(told)], at)
        if said.action == _DELETED:
            await repository_delete(tx.session, told.id, at)

    async def _see(
        self,
        tx: Transaction,
        row: GitHubInstallation | None,
        seen: list[RepositoryFacts],
        at: datetime,
    ) -> None:
        moves = await repositories_put(tx.session, seen, installation=row, seen_at=at)
        for move in moves:
            await projects_follow(tx, move, web_url=self._web_url)

    async def _follow_name(
        self, tx: Transaction, event: RepositoryChanged, said: RepositoryPayload
    ) -> None:
        """Lead projects from the name that the webhook says was left to the one of today.

        For a repository that was first heard of after it was renamed, and for renamings that are
        heard in another order than they happened.
        """
        known = await repository_find(tx.session, event.repository_id)
        if said.previous is None or known is None or known.full_name == said.previous:
            return
        there = known.installation_id
        move = Move(known.id, said.previous, known.full_name, there, there)
        await projects_follow(tx, move, web_url=self._web_url)


def _state(suspended_at: datetime | None) -> InstallationState:
    return InstallationState.ACTIVE if suspended_at is None else InstallationState.SUSPENDED


def _facts(told: answers.Repository | payloads.Repository) -> RepositoryFacts:
    return RepositoryFacts(told.id, told.full_name, told.private)


async def _delivery(tx: Transaction, delivery_id: str) -> WebhookDelivery | Outcome:
    """The (locked) delivery, or the answer when there is nothing to do."""
    if not tx.first_time:
        return Done()
    delivery = await delivery_lock(tx.session, delivery_id)
    if delivery is None:
        return Drop("unknown delivery")
    return delivery if delivery.state is DeliveryState.RECEIVED else Done()


async def _ignore(tx: Transaction, delivery: WebhookDelivery, error: MalformedBody) -> Outcome:
    reason = f"the payload is not understood: {error.message}"
    await delivery_finish(tx.session, delivery.id, DeliveryState.IGNORED, reason=reason)
    return Done()


async def _body(delivery: WebhookDelivery) -> bytes:
    return await asyncio.to_thread(
        zstandard.decompress, delivery.body, max_output_size=_MOST_BODY_BYTES
    )
