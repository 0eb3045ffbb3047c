"""Dead letters: storing them once, finding them, and deciding about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from db import inbox
from db.models import DeadLetter
from db.session import Transaction
from events.dead_letters import DeadLetterDecided, DeadLetterDiscarded, DeadLetterRedriven
from events.redrive import redriven
from events.states import DeadLetterState, allowed
from zeitwork import clock, context, ids
from zeitwork.errors import IllegalMove, InvalidInput

_NEXT = {
    DeadLetterState.REDRIVEN: (
        "Should {durable} fail again, `zeitwork events dead list` shows a new dead letter."
    ),
    DeadLetterState.DISCARDED: (
        "`zeitwork events dead show {id}` still shows its message; "
        "`zeitwork events replay --to {durable} --again` handles events of the log again."
    ),
}


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """What a dead letter says of itself; see `db.models.DeadLetter`."""

    stream: str
    durable: str
    sequence: int
    subject: str
    event_id: str | None
    event_type: str | None
    correlation_id: str | None
    organisation_id: str | None
    project_id: str | None
    headers: dict[str, str]
    payload: bytes
    attempts: int
    error_code: str
    error_detail: str


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters; None means any."""

    state: DeadLetterState | None = None
    durable: str | None = None


async def dead_letter_store(tx: Transaction, new: NewDeadLetter) -> str | None:
    """Keep a dead letter that waits for a decision; its id, None when it is kept already."""
    statement = (
        insert(DeadLetter)
        .values(
            id=ids.new(ids.Prefix.DEAD_LETTER), state=DeadLetterState.OPEN, version=1, **asdict(new)
        )
        .on_conflict_do_nothing()
        .returning(DeadLetter.id)
    )
    return (await tx.session.execute(statement)).scalar_one_or_none()


async def dead_letter_redrive(tx: Transaction, letter: DeadLetter) -> None:
    """Let a (locked) dead letter's durable try it once more, as if it had never seen it.

    Raises:
        IllegalMove: somebody has decided already.
        NotRedrivable, BodyTooLarge: see `events.redrive.redriven`.
    """
    _check(letter, DeadLetterState.REDRIVEN)
    redriven(letter)
    if letter.event_id is not None:
        await inbox.forget(tx.session, letter.durable, letter.event_id)
    _decide(tx, letter, DeadLetterState.REDRIVEN, DeadLetterRedriven)


def dead_letter_discard(tx: Transaction, letter: DeadLetter) -> None:
    """Note that nobody needs a (locked) dead letter any more.

    Raises:
        IllegalMove: somebody has decided already.
    """
    _check(letter, DeadLetterState.DISCARDED)
    _decide(tx, letter, DeadLetterState.DISCARDED, DeadLetterDiscarded)


def _check(letter: DeadLetter, target: DeadLetterState) -> None:
    if allowed(letter.state, target):
        return
    whose = f" by {letter.decided_by}" if letter.decided_by else ""
    when = f" at {letter.decided_at:%Y-%m-%d %H:%M} UTC" if letter.decided_at else ""
    raise IllegalMove(
        f"{letter.id} was {letter.state} already{whose}{when}; nothing was changed. "
        + _NEXT[letter.state].format(id=letter.id, durable=letter.durable)
    )


def _decide(
    tx: Transaction, letter: DeadLetter, target: DeadLetterState, fact: type[DeadLetterDecided]
) -> None:
    around = context.current()
    letter.state = target
    letter.decided_at = clock.now()
    letter.decided_by = around.actor
    # The decision belongs to the chain of causes that it lets go on.
    with context.bind(correlation_id=letter.correlation_id or around.correlation_id):
        tx.emit(
            fact(dead_letter_id=letter.id, durable=letter.durable),
            subject=letter.id,
            version=letter.version + 1,
            organisation_id=letter.organisation_id,
            project_id=letter.project_id,
        )


async def dead_letter_find(session: AsyncSession, letter_id: str) -> DeadLetter | None:
    """The dead letter, None also for what is no id."""
    return await session.get(DeadLetter, letter_id) if _is_id(letter_id) else None


async def dead_letter_lock(session: AsyncSession, letter_id: str) -> DeadLetter | None:
    """Its row, locked; None also for what is no id."""
    if not _is_id(letter_id):
        return None
    query = (
        select(DeadLetter)
        .where(DeadLetter.id == letter_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return (await session.execute(query)).scalar_one_or_none()


async def dead_letters_page(
    session: AsyncSession, wanted: DeadLetterFilter, *, before: str | None, limit: int
) -> Sequence[DeadLetter]:
    """Newest first; `before` is the last id of the page before."""
    query = select(DeadLetter).order_by(DeadLetter.id.desc()).limit(limit)
    if wanted.state is not None:
        query = query.where(DeadLetter.state == wanted.state)
    if wanted.durable is not None:
        query = query.where(DeadLetter.durable == wanted.durable)
    if before is not None:
        query = query.where(DeadLetter.id < before)
    return (await session.execute(query)).scalars().all()


async def dead_letters_open(session: AsyncSession) -> dict[str, int]:
    """How many wait for a decision, by durable."""
    query = (
        select(DeadLetter.durable, func.count())
        .where(DeadLetter.state == DeadLetterState.OPEN)
        .group_by(DeadLetter.durable)
    )
    return dict((await session.execute(query)).all())


async def dead_letters_purge(session: AsyncSession, before: datetime) -> None:
    """Forget what was decided before then; what is open stays."""
    await session.execute(delete(DeadLetter).where(DeadLetter.decided_at < before))


def _is_id(text: str) -> bool:
    try:
        ids.to_uuid(ids.Prefix.DEAD_LETTER, text)
    except InvalidInput:
        return False
    return True
