"""Artifacts: what is stored, how large it is, and why it is kept; nodes fetch the blobs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from aiohttp import web
from pydantic import BaseModel

from db.models import ArtifactLayer
from db.queries.artifacts import (
    GONE,
    ArtifactGone,
    Deployed,
    Kept,
    artifacts_page,
    deployed_find,
    layers_of,
)
from db.queries.projects import project_find
from db.queries.variables import variables_named
from events.variables import VariablePhase
from producers.api.call import Call
from producers.api.pages import page
from zeitwork.errors import NotFound
from zeitwork.fields import Body, PageSize


class LayerView(BaseModel):
    """A blob of an artifact; later ones are laid over earlier ones."""

    digest: str
    size: int


class ArtifactView(BaseModel):
    """What a caller sees.

    `kept_because` has `running`, `rolling_out`, `draining` and `recent`; without any of them, it is
    deleted at `deletes_at`, unless something comes to need it.
    """

    id: str
    project_id: str
    digest: str
    size: int
    layers: list[LayerView]
    builder: str
    kept_because: list[str]
    deletes_at: datetime | None
    deleted_at: datetime | None
    created_at: datetime


class DeployedArtifact(BaseModel):
    """What a deployment runs; `variables` are names, whose values stay here."""

    id: str
    project: str
    number: int
    layers: list[LayerView]
    command: str
    env: dict[str, str]
    path: list[str]
    variables: list[str]
    architecture: str


class ArtifactQuery(Body):
    """How `index` filters and pages (newest first)."""

    project: str | None = None
    before: str | None = None
    limit: PageSize = 50


async def index(call: Call) -> web.Response:
    """`GET /artifacts`."""
    query = call.query(ArtifactQuery)
    async with call.database.read() as session:
        project_id = None
        if query.project is not None:
            project = await project_find(session, query.project)
            if project is None:
                raise NotFound(f"There is no project {query.project!r}.")
            project_id = project.id
        rows = await artifacts_page(
            session,
            project_id=project_id,
            keep=call.settings.artifacts_kept,
            before=query.before,
            limit=query.limit,
        )
        layers = await layers_of(session, [row.artifact.id for row in rows])
    grace = timedelta(hours=call.settings.artifact_grace_hours)
    views = [view(row, layers, grace=grace) for row in rows]
    return call.reply(200, page(views, limit=query.limit, cursor=views[-1].id if views else None))


async def of_deployment(call: Call) -> web.Response:
    """`GET /deployments/{deployment}/artifact`: what it runs and how, without secrets."""
    async with call.database.read() as session:
        found = _stored(await deployed_find(session, call.path("deployment")), call)
        names = await variables_named(session, found.deployment.id, phase=VariablePhase.RUN)
    manifest = found.artifact.manifest
    return call.reply(
        200,
        DeployedArtifact(
            id=found.artifact.id,
            project=found.project.slug,
            number=found.deployment.number,
            layers=[LayerView(digest=each.digest, size=each.size) for each in found.layers],
            command=manifest["processes"]["web"],
            env=manifest.get("env", {}),
            path=manifest.get("path", []),
            variables=list(names),
            architecture=manifest.get("architecture", "x86_64"),
        ),
    )


async def layer(call: Call) -> web.StreamResponse:
    """`GET /deployments/{deployment}/artifact/layers/{digest}`: the bytes of a layer."""
    digest = call.path("digest")
    async with call.database.read() as session:
        found = _stored(await deployed_find(session, call.path("deployment")), call)
    if digest not in {each.digest for each in found.layers}:
        raise NotFound(f"The deployment's artifact has no layer {digest!r}.")
    return await _send(call, digest)


async def content(call: Call) -> web.StreamResponse:
    """`GET /artifacts/{digest}`: the bytes of a layer, for nodes."""
    return await _send(call, call.path("digest"))


def _stored(found: Deployed | None, call: Call) -> Deployed:
    """The deployment, if its artifact is there.

    Raises:
        NotFound: there is no such deployment, or it was not built.
        ArtifactGone: nothing has needed it for a time.
    """
    if found is None:
        raise NotFound(f"There is no deployment {call.path('deployment')!r} with an artifact.")
    if found.artifact.deleted_at is not None:
        raise ArtifactGone(GONE)
    return found


async def _send(call: Call, digest: str) -> web.StreamResponse:
    blob = await call.blobs.find(digest)
    if blob is None:
        raise NotFound(f"There is no artifact {digest!r}.")
    answer = web.StreamResponse(headers={"Content-Type": "application/zstd"})
    answer.content_length = blob.size
    await answer.prepare(call.request)
    async for chunk in call.blobs.read(digest):
        await answer.write(chunk)
    await answer.write_eof()
    return answer


def view(row: Kept, layers: Sequence[ArtifactLayer], *, grace: timedelta) -> ArtifactView:
    artifact = row.artifact
    leaves = row.unused_since is not None and artifact.deleted_at is None
    return ArtifactView(
        id=artifact.id,
        project_id=artifact.project_id,
        digest=artifact.digest,
        size=artifact.size,
        layers=[
            LayerView(digest=each.digest, size=each.size)
            for each in layers
            if each.artifact_id == artifact.id
        ],
        builder=artifact.manifest.get("builder", ""),
        kept_because=list(row.reasons) if artifact.deleted_at is None else [],
        deletes_at=row.unused_since + grace if leaves and row.unused_since else None,
        deleted_at=artifact.deleted_at,
        created_at=artifact.created_at,
    )
