"""Organisations: create, list."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import Organisation
from db.queries.organisations import organisation_create, organisation_find, organisations_all
from producers.api.call import Call
from producers.api.pages import Page
from zeitwork.errors import Conflict
from zeitwork.fields import Body, Name, Slug


class NewOrganisation(Body):
    """What `create` takes."""

    slug: Slug
    name: Name | None = None


class OrganisationView(BaseModel):
    """What a caller sees."""

    id: str
    slug: str
    name: str
    created_at: datetime


async def create(call: Call) -> web.Response:
    """`POST /organisations`."""
    new = await call.body(NewOrganisation)
    async with call.work.transaction() as tx:
        if await organisation_find(tx.session, new.slug) is not None:
            raise Conflict(f"An organisation {new.slug!r} exists already.")
        organisation = organisation_create(tx, slug=new.slug, name=new.name or new.slug)
    return call.reply(201, view(organisation))


async def index(call: Call) -> web.Response:
    """`GET /organisations`."""
    async with call.database.read() as session:
        found = await organisations_all(session)
    return call.reply(200, Page(items=[view(each) for each in found], next=None))


def view(organisation: Organisation) -> OrganisationView:
    return OrganisationView(
        id=organisation.id,
        slug=organisation.slug,
        name=organisation.name,
        created_at=organisation.created_at,
    )
