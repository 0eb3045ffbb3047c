"""Deploy hooks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.models import DeployHook, Project
from zeitwork import clock, ids


def hook_create(
    session: AsyncSession, project: Project, *, name: str, environment: str, ref: str | None
) -> tuple[DeployHook, str]:
    """A hook and its secret, which nobody can read again."""
    secret = ids.token()
    hook = DeployHook(
        id=ids.new(ids.Prefix.HOOK),
        organisation_id=project.organisation_id,
        project_id=project.id,
        name=name,
        environment=environment,
        ref=ref,
        secret_hash=hashed(secret),
        generation=1,
    )
    session.add(hook)
    return hook, secret


def hook_rotate(hook: DeployHook) -> str:
    """The new secret of a (locked) hook; what was valid before is void at once."""
    secret = ids.token()
    hook.secret_hash = hashed(secret)
    hook.generation += 1
    hook.rotated_at = clock.now()
    return secret


async def hook_find(session: AsyncSession, hook_id: str) -> DeployHook | None:
    return await session.get(DeployHook, hook_id)


async def hook_lock(session: AsyncSession, hook_id: str) -> DeployHook | None:
    query = (
        select(DeployHook)
        .where(DeployHook.id == hook_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def hooks_of(session: AsyncSession, project_id: str) -> Sequence[DeployHook]:
    query = select(DeployHook).where(DeployHook.project_id == project_id).order_by(DeployHook.id)
    return (await session.execute(query)).scalars().all()


def hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
