"""Webhook deliveries, and what they said of branches and pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.direct import Direct
from db.models import GitRef, Preview, Project, PullRequest, WebhookDelivery
from db.queries.github_app import source_gone
from events.states import DeliveryState, check
from zeitwork import clock, ids

_STORE = b"""
    INSERT INTO webhook_deliveries (id, guid, event, action, body, state, reason, finished_at)
    SELECT id, guid, event, action, body,
        CASE WHEN ignored IS NULL THEN %(received)s ELSE %(ignored)s END,
        ignored,
        CASE WHEN ignored IS NULL THEN NULL ELSE now() END
    FROM unnest(
        CAST(%(ids)s AS uuid[]), CAST(%(guids)s AS text[]), CAST(%(events)s AS text[]),
        CAST(%(actions)s AS text[]), CAST(%(bodies)s AS bytea[]), CAST(%(reasons)s AS text[])
    ) AS new (id, guid, event, action, body, ignored)
    ON CONFLICT (guid) DO NOTHING RETURNING id
"""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to be stored.

    Attributes:
        body: as it came, compressed (zstd).
        ignored: why nothing is to follow from it; None when something is.
    """

    id: str
    guid: str
    event: str
    action: str | None
    body: bytes
    ignored: str | None = None


async def deliveries_insert(direct: Direct, deliveries: Sequence[NewDelivery]) -> frozenset[str]:
    """Store deliveries; the ids of those whose `guid` was not there before."""
    # In one order, so that two processes that hear the same ones cannot wait for each other.
    rows = sorted(deliveries, key=lambda each: each.guid)
    columns = {
        "ids": [ids.to_uuid(ids.Prefix.DELIVERY, each.id) for each in rows],
        "guids": [each.guid for each in rows],
        "events": [each.event for each in rows],
        "actions": [each.action for each in rows],
        "bodies": [each.body for each in rows],
        "reasons": [each.ignored for each in rows],
        "received": DeliveryState.RECEIVED.value,
        "ignored": DeliveryState.IGNORED.value,
    }
    stored = await direct.rows(_STORE, columns)
    return frozenset(ids.from_uuid(ids.Prefix.DELIVERY, id_) for (id_,) in stored)


async def delivery_find_by_guid(session: AsyncSession, guid: str) -> WebhookDelivery | None:
    return (
        await session.execute(select(WebhookDelivery).where(WebhookDelivery.guid == guid))
    ).scalar_one_or_none()


async def delivery_lock(session: AsyncSession, delivery_id: str) -> WebhookDelivery | None:
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def delivery_finish(
    session: AsyncSession, delivery_id: str, outcome: DeliveryState, *, reason: str | None
) -> None:
    """Note what became of a delivery, whose row exists."""
    delivery = await session.get_one(WebhookDelivery, delivery_id, with_for_update=True)
    check(delivery.state, outcome)
    delivery.state = outcome
    delivery.reason = reason
    delivery.finished_at = clock.now()


async def git_ref_lock(session: AsyncSession, repository: str, ref: str) -> GitRef:
    """What is known of a reference, locked; a row with nothing in it for one not heard of."""
    key = {"repository": repository, "ref": ref}
    await session.execute(
        insert(GitRef).values(**key, noted_at=clock.now()).on_conflict_do_nothing()
    )
    query = (
        select(GitRef).filter_by(**key).with_for_update().execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one()


async def git_ref_find(session: AsyncSession, repository: str, ref: str) -> GitRef | None:
    return await session.get(GitRef, (repository, ref))


async def pull_request_insert(session: AsyncSession, said: dict[str, Any]) -> bool:
    """Note a pull request; False when there is a row of it already."""
    statement = (
        insert(PullRequest)
        .values(**said, noted_at=clock.now())
        .on_conflict_do_nothing()
        .returning(PullRequest.number)
    )
    return (await session.execute(statement)).scalar_one_or_none() is not None


async def pull_request_lock(
    session: AsyncSession, repository: str, number: int
) -> PullRequest | None:
    query = (
        select(PullRequest)
        .filter_by(repository=repository, number=number)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def pull_requests_end(session: AsyncSession, repository: str, branch: str) -> None:
    """The branch is gone, so what asks to merge it can only be closed; GitHub says so later."""
    await session.execute(
        update(PullRequest)
        .where(
            PullRequest.repository == repository,
            PullRequest.head_repo == repository,
            PullRequest.head_ref == branch,
        )
        .values(open=False, noted_at=clock.now())
        .execution_options(synchronize_session=False)
    )


async def git_facts_purge(session: AsyncSession, before: datetime) -> None:
    """Forget deleted branches and closed pull requests of which nothing was heard since."""
    for statement in (
        delete(GitRef).where(GitRef.head.is_(None), GitRef.noted_at < before),
        delete(PullRequest).where(PullRequest.open.is_(False), PullRequest.noted_at < before),
    ):
        await session.execute(statement, execution_options={"synchronize_session": False})


async def pull_requests_without_preview(
    session: AsyncSession, *, limit: int
) -> Sequence[tuple[str, PullRequest]]:
    """Projects (by id) that make previews, and open pull requests of which they have none."""
    preview = select(Preview.id).where(
        Preview.project_id == Project.id, Preview.pull_number == PullRequest.number
    )
    query = (
        select(Project.id, PullRequest)
        .join(PullRequest, PullRequest.repository == Project.github_repo)
        .where(
            Project.previews_enabled,
            Project.closing_at.is_(None),
            ~source_gone(),
            PullRequest.open,
            # Older news than the project's limit would only bring up what has expired.
            PullRequest.noted_at
            > clock.now() - func.make_interval(0, 0, 0, Project.preview_max_age_days),
            ~preview.exists(),
        )
        .order_by(PullRequest.number, Project.id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in (await session.execute(query)).all()]
