"""Organisations: the tenants."""

from __future__ import annotations

from events.event import Event


class OrganisationCreated(Event, type="organisation.created"):
    """A tenant exists."""

    organisation_id: str
    slug: str
