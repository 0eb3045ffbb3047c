"""The keys that seal secrets: which are in use, and sealing everything with the first."""

from __future__ import annotations

from aiohttp import web
from pydantic import BaseModel

from db.queries.variables import variables_by_key, variables_reseal
from producers.api.call import Call
from zeitwork.errors import SealKeyMissing

_BATCH = 200  # values in a transaction; each is a row that is locked meanwhile


class KeyView(BaseModel):
    """A key by its id.

    Attributes:
        known: whether this process has it; without it its values cannot be read.
        droppable: nothing is sealed with it any more, and it is not the one that seals.
    """

    id: str
    seals: bool
    known: bool
    values: int
    droppable: bool


class KeysView(BaseModel):
    """Every key that is known or in use; `resealed` values in this call, `remaining` to go."""

    items: list[KeyView]
    resealed: int = 0
    remaining: int


async def index(call: Call) -> web.Response:
    """`GET /secret-keys`."""
    return call.reply(200, await _view(call, resealed=0))


async def rotate(call: Call) -> web.Response:
    """`POST /secret-keys/rotate`: seal the next few hundred values anew; call it until none remain.

    It may be cut off at any moment and begun again: each value is sealed with the old key or the
    new one, and both are on the ring.
    """
    if call.keys.sealing_id is None:
        raise SealKeyMissing("There is no key to seal secrets with: set ZEITWORK_SECRET_KEYS.")
    async with call.work.transaction() as tx:
        resealed = await variables_reseal(tx.session, call.keys, limit=_BATCH)
    return call.reply(200, await _view(call, resealed=resealed))


async def _view(call: Call, *, resealed: int) -> KeysView:
    async with call.database.read() as session:
        used = await variables_by_key(session)
    first = call.keys.sealing_id
    every = dict.fromkeys([*call.keys.ids, *sorted(used)])
    return KeysView(
        items=[
            KeyView(
                id=key_id,
                seals=key_id == first,
                known=key_id in call.keys.ids,
                values=used.get(key_id, 0),
                droppable=key_id != first and not used.get(key_id),
            )
            for key_id in every
        ],
        resealed=resealed,
        remaining=sum(count for key_id, count in used.items() if key_id != first),
    )
