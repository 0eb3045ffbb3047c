"""Dead letters: into their table, out of the server's hands, back to the durable that failed."""

from __future__ import annotations

from consumers.dead_letters import advisory, letter, reading
from consumers.outcomes import Done, Drop, Outcome
from db.models import DeadLetter
from db.queries.dead_letters import dead_letter_find, dead_letter_store
from db.session import Transaction, UnitOfWork
from events import streams
from events.bus import Bus
from events.dead_letters import DeadLetterRedriven
from events.delivery import Delivery
from events.redrive import redriven
from zeitwork import logs
from zeitwork.errors import ZeitworkError

_log = logs.get(__name__)


class Registrar:
    """Copies each dead letter into the table, once."""

    def __init__(self, work: UnitOfWork) -> None:
        self._work = work

    async def __call__(self, delivery: Delivery) -> Outcome:
        found = reading.read(delivery)
        async with self._work.transaction() as tx:
            letter_id = await dead_letter_store(tx, found)
        if letter_id is not None:
            _log.warning(
                "dead letter stored",
                dead_letter_id=letter_id,
                failed_durable=found.durable,
                code=found.error_code,
                event_id=found.event_id,
            )
        return Done()


class Undertaker:
    """Buries what the server gave up, and clears it out of its work queue."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def __call__(self, delivery: Delivery) -> Outcome:
        said = advisory.read(delivery.subject, delivery.data)
        if said is None:
            return Drop("the advisory cannot be read")
        if not said.concerns_us:
            return Drop("the advisory is not about work of ours")
        stored = await self._bus.fetch(said.stream, said.sequence)
        if stored is None:
            # A work queue lets go of what its consumer ended, and that was buried before.
            if said.code == "max_deliveries":
                _log.error(
                    "message gone before its burial",
                    stream=said.stream,
                    failed_durable=said.durable,
                    message_sequence=said.sequence,
                )
            return Drop("the message is gone")
        await self._bus.publish([letter.given_up(stored, said)])
        if said.stream == streams.JOBS.name:
            await self._bus.remove(said.stream, said.sequence)
        return Done()


class Redriver:
    """Publishes what an operator wants to be tried again."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def __call__(self, tx: Transaction, event: DeadLetterRedriven) -> Outcome:
        found = await dead_letter_find(tx.session, event.dead_letter_id)
        if found is None:
            return Drop("the dead letter is gone")
        try:
            message = redriven(found)
        except ZeitworkError as error:
            # It could be redriven when that was decided; this version of the program is another.
            _log.error("dead letter not redriven", dead_letter_id=found.id, code=error.code)
            return Drop(error.message)
        if found.stream == streams.JOBS.name:
            await self._clear(found)
        await self._bus.publish([message])
        return Done()

    async def _clear(self, found: DeadLetter) -> None:
        """Take the job's first message out of its queue, which would refuse a second."""
        queued = await self._bus.fetch(found.stream, found.sequence)
        if queued is None or queued.subject != found.subject or queued.data != found.payload:
            return  # another job has that place in a queue that was made anew
        await self._bus.remove(found.stream, found.sequence)
