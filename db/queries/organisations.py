"""Organisations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import Organisation
from db.session import Transaction
from events.organisations import OrganisationCreated
from zeitwork import ids


def organisation_create(tx: Transaction, *, slug: str, name: str) -> Organisation:
    organisation = Organisation(id=ids.new(ids.Prefix.ORGANISATION), slug=slug, name=name)
    tx.session.add(organisation)
    tx.emit(
        OrganisationCreated(organisation_id=organisation.id, slug=slug),
        subject=organisation.id,
        organisation_id=organisation.id,
    )
    return organisation


async def organisation_find(session: AsyncSession, slug: str) -> Organisation | None:
    return (
        await session.execute(select(Organisation).where(Organisation.slug == slug))
    ).scalar_one_or_none()


async def organisations_all(session: AsyncSession) -> Sequence[Organisation]:
    return (await session.execute(select(Organisation).order_by(Organisation.slug))).scalars().all()
