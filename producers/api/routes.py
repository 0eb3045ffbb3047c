"""The table of every route: the API on one screen."""

from __future__ import annotations

from typing import Final

from producers.api import (
    builds,
    dead_letters,
    deliveries,
    deployments,
    environments,
    events,
    hooks,
    instances,
    nodes,
    operations,
    organisations,
    previews,
    projects,
    queues,
    reference,
    triggers,
)
from producers.api.call import Access, Endpoint
from producers.webhooks.github import MAX_BODY_BYTES

PREFIX: Final = "/api/v1"

ROUTES: Final = (
    Endpoint("DELETE", "/hooks/{hook}", hooks.remove),
    Endpoint("DELETE", "/projects/{project}", projects.remove),
    Endpoint("DELETE", "/projects/{project}/environments/{environment}", environments.remove),
    Endpoint("GET", "/artifacts/{digest}", nodes.artifact, access=Access.NODE),
    Endpoint("GET", "/asyncapi.json", reference.asyncapi, access=Access.PUBLIC),
    Endpoint("GET", "/builds/{build}", builds.show),
    Endpoint("GET", "/builds/{build}/logs", builds.log),
    Endpoint("GET", "/builds/{build}/logs/stream", builds.follow),
    Endpoint("GET", "/dead-letters", dead_letters.index),
    Endpoint("GET", "/dead-letters/{letter}", dead_letters.show),
    Endpoint("GET", "/deployments", deployments.index),
    Endpoint("GET", "/deployments/{deployment}", deployments.show),
    Endpoint("GET", "/deployments/{deployment}/instances", instances.index),
    Endpoint("GET", "/events", events.index),
    Endpoint("GET", "/events/stream", events.follow),
    Endpoint("GET", "/instances/{instance}/logs/stream", instances.follow),
    Endpoint("GET", "/nodes", nodes.index),
    Endpoint("GET", "/nodes/{node}/desired", nodes.desired, access=Access.NODE),
    Endpoint("GET", "/operations", operations.index),
    Endpoint("GET", "/operations/{operation}", operations.show),
    Endpoint("GET", "/organisations", organisations.index),
    Endpoint("GET", "/previews/{preview}", previews.show),
    Endpoint("GET", "/projects", projects.index),
    Endpoint("GET", "/projects/{project}", projects.show),
    Endpoint("GET", "/projects/{project}/hooks", hooks.index),
    Endpoint("GET", "/projects/{project}/previews", previews.index),
    Endpoint("GET", "/projects/{project}/triggers", triggers.index),
    Endpoint("GET", "/queues", queues.index),
    Endpoint("GET", "/triggers/{trigger}", triggers.show),
    Endpoint("GET", "/webhooks/deliveries/{guid}", deliveries.show),
    Endpoint("PATCH", "/projects/{project}", projects.change),
    Endpoint("PATCH", "/projects/{project}/environments/{environment}", environments.change),
    Endpoint("POST", "/dead-letters/{letter}/discard", dead_letters.discard),
    Endpoint("POST", "/dead-letters/{letter}/redrive", dead_letters.redrive),
    Endpoint("POST", "/hooks/{hook}", hooks.deploy, access=Access.PUBLIC),
    Endpoint("POST", "/hooks/{hook}/rotate", hooks.rotate),
    Endpoint("POST", "/nodes", nodes.register, access=Access.NODE),
    Endpoint("POST", "/operations", operations.create),
    Endpoint("POST", "/organisations", organisations.create),
    Endpoint("POST", "/previews/{preview}/approve", previews.approve),
    Endpoint("POST", "/projects", projects.create),
    Endpoint("POST", "/projects/{project}/deployments", deployments.create),
    Endpoint("POST", "/projects/{project}/environments", environments.create),
    Endpoint("POST", "/projects/{project}/hooks", hooks.create),
    Endpoint("POST", "/webhooks/git/{hook}", hooks.push, access=Access.PUBLIC),
    Endpoint(
        "POST",
        "/webhooks/github",
        deliveries.receive,
        access=Access.PUBLIC,
        max_body=MAX_BODY_BYTES,
    ),
)
