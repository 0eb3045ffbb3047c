"""Artifacts and the blobs of their layers: noting, taking, keeping and giving up.

One rule prevents that a blob is deleted under somebody who has just come to rely on it. Whoever
does so updates its row (`blobs_note`, `artifact_record`, `artifact_take`), and whoever deletes one
holds that row's lock until the store has done it. So the one who comes second waits, and then sees
what the first has done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CompoundSelect, Select, Subquery, delete, exists, func, select, union, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import (
    Artifact,
    ArtifactLayer,
    Build,
    Deployment,
    Environment,
    Instance,
    Project,
    StoredBlob,
)
from db.queries.deployments import OPEN_STATES
from db.queries.instances import LIVE_STATES
from events.states import DeploymentState
from zeitwork import clock, ids
from zeitwork.blobs import Blob
from zeitwork.errors import Conflict, Unavailable


class ArtifactGone(Conflict):
    """The artifact was given up; only a new build brings its content back."""

    code = "artifact_gone"


GONE = (
    "Its artifact was deleted, since nothing had used it for a time: deploy the commit again, "
    "which builds it."
)


class BlobsGone(Unavailable):
    """A blob that was stored for a build was deleted before the build could say so."""

    code = "blobs_gone"


async def blobs_note(session: AsyncSession, blobs: Sequence[Blob]) -> None:
    """Say that somebody is about to store these, or to find them stored; commit it before that."""
    for blob in sorted(blobs, key=lambda each: each.digest):
        statement = insert(StoredBlob).values(digest=blob.digest, size=blob.size)
        await session.execute(
            statement.on_conflict_do_update(
                index_elements=[StoredBlob.digest],
                set_={"noted_at": clock.now(), "unused_since": None},
            )
        )


async def artifact_record(
    session: AsyncSession, build: Build, *, layers: Sequence[Blob], manifest: dict[str, Any]
) -> str:
    """Note an artifact of a project; equal content keeps its id and takes the manifest.

    Raises:
        BlobsGone: one of its blobs was deleted meanwhile.
    """
    if not await _blobs_hold(session, [layer.digest for layer in layers]):
        raise BlobsGone("what the build had stored was deleted meanwhile; it has to run again")
    statement = insert(Artifact).values(
        id=ids.new(ids.Prefix.ARTIFACT),
        organisation_id=build.organisation_id,
        project_id=build.project_id,
        digest=digest_of([layer.digest for layer in layers]),
        size=sum(layer.size for layer in layers),
        manifest=manifest,
    )
    statement = statement.on_conflict_do_update(
        index_elements=[Artifact.project_id, Artifact.digest],
        set_={"manifest": manifest, "deleted_at": None},
    )
    artifact_id: str = (await session.execute(statement.returning(Artifact.id))).scalar_one()
    rows = [
        {
            "artifact_id": artifact_id,
            "position": position,
            "digest": layer.digest,
            "size": layer.size,
            "organisation_id": build.organisation_id,
        }
        for position, layer in enumerate(layers)
    ]
    await session.execute(insert(ArtifactLayer).values(rows).on_conflict_do_nothing())
    return artifact_id


async def artifact_take(session: AsyncSession, artifact_id: str) -> None:
    """Come to rely on an artifact: until this transaction ends, nobody gives it up.

    Raises:
        ArtifactGone: somebody has.
    """
    layers = await layers_of(session, [artifact_id])
    held = await _blobs_hold(session, [layer.digest for layer in layers])
    # Read after the locks were waited for.
    query = select(Artifact.id).where(Artifact.id == artifact_id, Artifact.deleted_at.is_(None))
    if not held or (await session.execute(query)).scalar_one_or_none() is None:
        raise ArtifactGone(GONE)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A deployment with what it runs."""

    deployment: Deployment
    project: Project
    artifact: Artifact
    layers: Sequence[ArtifactLayer]


async def deployed_find(session: AsyncSession, deployment_id: str) -> Deployed | None:
    """None when there is no such deployment, or it has no artifact."""
    query = (
        select(Deployment, Project, Artifact)
        .join(Project, Project.id == Deployment.project_id)
        .join(Artifact, Artifact.id == Deployment.artifact_id)
        .where(Deployment.id == deployment_id)
    )
    row = (await session.execute(query)).one_or_none()
    if row is None:
        return None
    deployment, project, artifact = row
    return Deployed(deployment, project, artifact, await layers_of(session, [artifact.id]))


async def layers_of(session: AsyncSession, artifact_ids: Sequence[str]) -> Sequence[ArtifactLayer]:
    """By artifact, the lowest first."""
    query = (
        select(ArtifactLayer)
        .where(ArtifactLayer.artifact_id.in_(artifact_ids))
        .order_by(ArtifactLayer.artifact_id, ArtifactLayer.position)
    )
    return (await session.execute(query)).scalars().all()


def digest_of(layers: Sequence[str]) -> str:
    """The digest of an artifact with these layers' digests."""
    if len(layers) == 1:
        return layers[0]
    return hashlib.sha256("\n".join(layers).encode()).hexdigest()


async def blobs_mark(session: AsyncSession, *, keep: int) -> None:
    """Write down what nothing needs any more, and what is needed again; `keep` as for `_kept`."""
    for needed, since in ((True, None), (False, clock.now())):
        named = _names_kept(keep)
        marked = StoredBlob.unused_since.is_not(None)
        await session.execute(
            update(StoredBlob)
            .where(marked if needed else ~marked, named if needed else ~named)
            .values(unused_since=since)
            .execution_options(synchronize_session=False)
        )


async def blobs_adopt(session: AsyncSession, blobs: Sequence[Blob]) -> int:
    """Note what the store holds and no row tells of, as unused; how many there were."""
    statement = (
        insert(StoredBlob)
        .values(
            [
                {"digest": each.digest, "size": each.size, "unused_since": clock.now()}
                for each in blobs
            ]
        )
        .on_conflict_do_nothing()
        .returning(StoredBlob.digest)
    )
    return len((await session.execute(statement)).scalars().all())


async def blobs_unused(
    session: AsyncSession, *, before: datetime, limit: int
) -> Sequence[StoredBlob]:
    """Those that have been unused since before that moment, longest first."""
    query = (
        select(StoredBlob)
        .where(StoredBlob.unused_since < before)
        .order_by(StoredBlob.unused_since)
        .limit(limit)
    )
    return (await session.execute(query)).scalars().all()


async def blob_give_up(session: AsyncSession, digest: str, *, before: datetime, keep: int) -> bool:
    """Let nobody come to rely on artifacts with this blob any more; False when it is needed."""
    if await _blob_lock(session, digest, before=before) is None:
        return False
    needed = select(StoredBlob.digest).where(StoredBlob.digest == digest, _names_kept(keep))
    if (await session.execute(needed)).scalar_one_or_none() is not None:
        return False
    named = select(ArtifactLayer.artifact_id).where(ArtifactLayer.digest == digest)
    await session.execute(
        update(Artifact)
        .where(Artifact.id.in_(named), Artifact.deleted_at.is_(None))
        .values(deleted_at=clock.now())
        .execution_options(synchronize_session=False)
    )
    return True


async def blob_condemned(session: AsyncSession, digest: str, *, before: datetime) -> bool:
    """Whether a blob may be deleted, until this transaction ends: it was given up."""
    if await _blob_lock(session, digest, before=before) is None:
        return False
    query = (
        select(ArtifactLayer.artifact_id)
        .join(Artifact, Artifact.id == ArtifactLayer.artifact_id)
        .where(ArtifactLayer.digest == digest, Artifact.deleted_at.is_(None))
        .limit(1)
    )
    return (await session.execute(query)).scalar_one_or_none() is None


async def blob_forget(session: AsyncSession, digest: str) -> None:
    """After it was deleted."""
    await session.execute(delete(StoredBlob).where(StoredBlob.digest == digest))


async def artifacts_forget(session: AsyncSession) -> None:
    """Delete the rows of artifacts that were given up, once no deployment refers to them."""
    await session.execute(
        delete(Artifact).where(
            Artifact.deleted_at.is_not(None),
            ~exists().where(Deployment.artifact_id == Artifact.id),
        )
    )


async def _blobs_hold(session: AsyncSession, digests: Sequence[str]) -> bool:
    """Lock the rows of blobs and have them used; False when one is missing."""
    lock = (
        select(StoredBlob.digest)
        .where(StoredBlob.digest.in_(digests))
        .order_by(StoredBlob.digest)  # one order for everybody, so no deadlock
        .with_for_update()
    )
    found = (await session.execute(lock)).scalars().all()
    await session.execute(
        update(StoredBlob)
        .where(StoredBlob.digest.in_(found))
        .values(unused_since=None)
        .execution_options(synchronize_session=False)
    )
    return set(found) == set(digests)


async def _blob_lock(session: AsyncSession, digest: str, *, before: datetime) -> str | None:
    query = (
        select(StoredBlob.digest)
        .where(StoredBlob.digest == digest, StoredBlob.unused_since < before)
        .with_for_update(skip_locked=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


def _names_kept(keep: int) -> Any:
    """Whether a blob is part of an artifact that is kept."""
    return exists().where(
        ArtifactLayer.digest == StoredBlob.digest, ArtifactLayer.artifact_id.in_(_kept(keep))
    )


def _kept(keep: int) -> CompoundSelect[Any]:
    """Artifacts of what runs or is on its way, and the last `keep` good ones of an environment."""
    recent = _recent()
    return union(
        _named(Deployment.state.in_([*OPEN_STATES, DeploymentState.ACTIVE])),
        _named(
            exists().where(Instance.deployment_id == Deployment.id, Instance.state.in_(LIVE_STATES))
        ),
        select(recent.c.artifact_id).where(recent.c.place <= keep),
    )


def _named(condition: Any) -> Select[Any]:
    return select(Deployment.artifact_id).where(Deployment.artifact_id.is_not(None), condition)


def _recent() -> Subquery:
    """Which place each artifact has among those that served an environment, the last one first."""
    newest = (
        select(
            Deployment.environment_id,
            Deployment.artifact_id,
            func.max(Deployment.number).label("number"),
        )
        .join(Environment, Environment.id == Deployment.environment_id)
        .where(
            Deployment.artifact_id.is_not(None),
            Deployment.activated_at.is_not(None),
            Environment.closing_at.is_(None),
        )
        .group_by(Deployment.environment_id, Deployment.artifact_id)
        .subquery()
    )
    place = func.row_number().over(
        partition_by=newest.c.environment_id, order_by=newest.c.number.desc()
    )
    return select(newest.c.artifact_id, place.label("place")).subquery()


@dataclass(frozen=True, slots=True)
class Kept:
    """An artifact, and why it is kept: nothing where it is not.

    Attributes:
        reasons: `running`, `rolling_out`, `draining`, `recent`.
        unused_since: of the layer that goes first.
    """

    artifact: Artifact
    reasons: Sequence[str]
    unused_since: datetime | None


async def artifacts_page(
    session: AsyncSession, *, project_id: str | None, keep: int, before: str | None, limit: int
) -> Sequence[Kept]:
    """Newest first; `before` is the last id of the page before."""
    recent = _recent()
    reasons = {
        "running": _named(Deployment.state == DeploymentState.ACTIVE),
        "rolling_out": _named(Deployment.state.in_(OPEN_STATES)),
        "draining": _named(
            Deployment.state.not_in([*OPEN_STATES, DeploymentState.ACTIVE])
            & exists().where(
                Instance.deployment_id == Deployment.id, Instance.state.in_(LIVE_STATES)
            )
        ),
        "recent": select(recent.c.artifact_id).where(recent.c.place <= keep),
    }
    unused = (
        select(func.min(StoredBlob.unused_since))
        .join(ArtifactLayer, ArtifactLayer.digest == StoredBlob.digest)
        .where(ArtifactLayer.artifact_id == Artifact.id)
        .scalar_subquery()
    )
    query = (
        select(Artifact, unused, *(Artifact.id.in_(each) for each in reasons.values()))
        .order_by(Artifact.id.desc())
        .limit(limit)
    )
    if project_id is not None:
        query = query.where(Artifact.project_id == project_id)
    if before is not None:
        query = query.where(Artifact.id < before)
    return [
        Kept(artifact, [name for name, is_so in zip(reasons, facts, strict=True) if is_so], since)
        for artifact, since, *facts in (await session.execute(query)).all()
    ]
