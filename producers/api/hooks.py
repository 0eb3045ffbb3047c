"""Deploy hooks: make, list, rotate and remove them; and what calls of them do."""

from __future__ import annotations

import hmac
from datetime import datetime

from aiohttp import web
from pydantic import BaseModel

from db.models import DeployHook
from db.queries.hooks import (
    hashed,
    hook_create,
    hook_find,
    hook_lock,
    hook_rotate,
    hooks_of,
)
from db.queries.projects import PRODUCTION, environment_named, project_find
from db.queries.triggers import Asked, trigger_request
from events.environments import EnvironmentKind
from events.triggers import TriggerKind
from producers.api.call import Call
from producers.api.pages import Page
from producers.api.projects import found
from producers.api.triggers import view as trigger_view
from producers.webhooks import git
from zeitwork import clock, ids
from zeitwork.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from zeitwork.fields import Body, GitReference, Name, Slug

_MOST_HOOKS = 50
_REFUSED = "There is no such hook, or the secret is not its own."


class NewHook(Body):
    """What `create` takes; without a `ref` the environment's branch is deployed."""

    name: Name = "deploy hook"
    environment: Slug = PRODUCTION
    ref: GitReference | None = None


class HookView(BaseModel):
    """What a caller sees."""

    id: str
    project_id: str
    name: str
    environment: str
    ref: str | None
    created_at: datetime
    rotated_at: datetime | None
    used_at: datetime | None


class HookSecrets(HookView):
    """A new or rotated hook, once: its secrets are not kept.

    Attributes:
        path: to POST to; whoever knows it can deploy.
        signing_path: where pushes signed with `signing_key` go; both None when the installation
            has no key to make signing keys from.
    """

    path: str
    signing_path: str | None
    signing_key: str | None


async def create(call: Call) -> web.Response:
    """`POST /projects/{project}/hooks`."""
    body = await call.body(NewHook)
    async with call.work.transaction() as tx:
        project = await found(tx.session, call)
        if len(await hooks_of(tx.session, project.id)) >= _MOST_HOOKS:
            raise Conflict(f"A project may have {_MOST_HOOKS} hooks: remove one first.")
        environment = await environment_named(tx.session, project.id, body.environment)
        if environment is None or environment.kind is EnvironmentKind.PREVIEW:
            raise NotFound(f"{project.slug} has no environment {body.environment!r} for hooks.")
        hook, secret = hook_create(
            tx.session, project, name=body.name, environment=body.environment, ref=body.ref
        )
        await tx.session.flush()
    return call.reply(201, _secrets(call, hook, secret))


async def index(call: Call) -> web.Response:
    """`GET /projects/{project}/hooks`."""
    async with call.database.read() as session:
        project = await found(session, call)
        rows = await hooks_of(session, project.id)
    return call.reply(200, Page(items=[view(row) for row in rows], next=None))


async def rotate(call: Call) -> web.Response:
    """`POST /hooks/{hook}/rotate`: a new secret and signing key; the old ones are void."""
    async with call.work.transaction() as tx:
        hook = await hook_lock(tx.session, call.path("hook"))
        if hook is None:
            raise NotFound(f"There is no hook {call.path('hook')!r}.")
        secret = hook_rotate(hook)
    return call.reply(200, _secrets(call, hook, secret))


async def remove(call: Call) -> web.Response:
    """`DELETE /hooks/{hook}`."""
    async with call.work.transaction() as tx:
        hook = await hook_lock(tx.session, call.path("hook"))
        if hook is None:
            raise NotFound(f"There is no hook {call.path('hook')!r}.")
        await tx.session.delete(hook)
    return call.reply(200, view(hook))


async def deploy(call: Call) -> web.Response:
    """`POST /hooks/{hook}`: deploy what the hook is for, if `secret` is right.

    The secret is in the query, not in the path: paths are logged.
    """
    secret = call.request.query.get("secret", "")
    async with call.work.transaction() as tx:
        hook = await hook_lock(tx.session, _id(call))
        given = hashed(secret)
        if hook is None or not hmac.compare_digest(given, hook.secret_hash):
            raise Unauthenticated(_REFUSED)
        project = await project_find(tx.session, hook.project_id)
        environment = await environment_named(tx.session, hook.project_id, hook.environment)
        if project is None or environment is None or environment.closing_at is not None:
            raise NotFound(f"The environment {hook.environment!r} of this hook is gone.")
        ref = hook.ref or environment.branch
        if set(ref) & set("*?"):
            raise InvalidInput(f"{environment.name} follows {ref}: make a hook with a ref.")
        hook.used_at = clock.now()
        asked = Asked(TriggerKind.HOOK, ref, f"hook:{hook.id}", message=hook.name)
        trigger = trigger_request(tx, project, asked, environment_id=environment.id)
        await tx.session.flush()
    return call.reply(202, trigger_view(trigger))


async def push(call: Call) -> web.Response:
    """`POST /webhooks/git/{hook}`: a signed push of any git host."""
    signed = git.Signed.of(call.request.headers, await call.read_body())
    async with call.database.read() as session:
        hook = await hook_find(session, _id(call))
        project = await project_find(session, hook.project_id) if hook is not None else None
    if hook is None or project is None:
        raise Unauthenticated(_REFUSED)
    sent = git.verify(git.signing_key(call.settings.hook_key, hook), signed)
    outcome = await git.receive(call.work, project, hook, signed, sent=sent)
    return call.reply(202, {"outcome": outcome})


def view(hook: DeployHook) -> HookView:
    return HookView(
        id=hook.id,
        project_id=hook.project_id,
        name=hook.name,
        environment=hook.environment,
        ref=hook.ref,
        created_at=hook.created_at,
        rotated_at=hook.rotated_at,
        used_at=hook.used_at,
    )


def _id(call: Call) -> str:
    """The hook of the path; a stranger learns nothing from the form of an id.

    Raises:
        Unauthenticated: it is no hook's id.
    """
    wanted = call.path("hook")
    try:
        ids.to_uuid(ids.Prefix.HOOK, wanted)
    except InvalidInput as error:
        raise Unauthenticated(_REFUSED) from error
    return wanted


def _secrets(call: Call, hook: DeployHook, secret: str) -> HookSecrets:
    signs = bool(call.settings.hook_key.get_secret_value())
    return HookSecrets(
        **view(hook).model_dump(),
        path=f"/api/v1/hooks/{hook.id}?secret={secret}",
        signing_path=f"/api/v1/webhooks/git/{hook.id}" if signs else None,
        signing_key=git.signing_key(call.settings.hook_key, hook) if signs else None,
    )
