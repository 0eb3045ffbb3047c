"""A replica of a consumer group as a process of its own; each effect is a row in PostgreSQL.

`python -m tests.support.replica NAME DURABLE PROJECT NATS_URL DATABASE_URL [--hang WHERE]
[--most N]`

With `--hang inside` the first handler never comes to its commit; with `--hang after` it has
committed and its message is never acknowledged. It says so and waits to be killed. With `--most`
up to so many messages are taken together, and it is several of them that hang.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from typing import Any

from pydantic import SecretStr
from sqlalchemy import text

from consumers.binding import Binding, Taken
from consumers.handling import FactHandler, once
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from consumers.together import OneTransaction
from db.engine import Database
from db.session import Transaction, UnitOfWork
from events import builds, subjects
from events.delivery import Delivery
from events.envelope import Envelope
from events.event import Event
from events.streams import Durable
from zeitwork import context, logs

TABLE = "CREATE TABLE effects (event_id text NOT NULL, replica text NOT NULL)"
_WORK_SECONDS = 0.01
_ALONE = 4  # the pullers' first messages, which come one by one
_NOTE = text("INSERT INTO effects VALUES (:event_id, :replica)")


def durable_of(name: str, project: str) -> Durable:
    """The durable that the replicas share; a killed replica's messages come again soon."""
    pattern = subjects.facts(builds.BuildStarted, project=project)
    return Durable(name, "of a test", "ZW_EVENTS", (pattern,), ack_wait=2.0, delays=(0.1,))


async def main(given: argparse.Namespace) -> None:
    # Standard output is for the test, which reads two lines of it: more would fill the pipe.
    logs.configure(service="replica", level="error", fmt="json")
    database = Database(SecretStr(given.database), application=given.name, pool_size=4)
    work = UnitOfWork(database)
    hung = asyncio.Event()
    calls: list[str | None] = []

    async def hang(where: str) -> None:
        """For ever, in one handler of a process; the others go on."""
        if given.hang == where and not hung.is_set():
            hung.set()
            print("hanging", flush=True)
            await asyncio.Event().wait()

    async def effect(tx: Transaction, _event: builds.BuildStarted) -> Outcome:
        calls.append(context.current().causation_id)
        await tx.session.execute(
            _NOTE, {"event_id": context.current().causation_id, "replica": given.name}
        )
        await asyncio.sleep(_WORK_SECONDS)
        if given.most == 1 or len(calls) > _ALONE:
            await hang("inside")
        return Done()

    handle = once(work, given.durable, effect)

    async def handler(envelope: Envelope) -> Outcome:
        outcome = await handle(envelope)
        await hang("after")
        return outcome

    durable = durable_of(given.durable, given.project)
    handlers: dict[type[Event], FactHandler[Any]] = {builds.BuildStarted: effect}
    several = OneTransaction(work, durable, durable.name, handlers, most=given.most)

    class Together:
        """As shipped, but hangs where it is to."""

        most = given.most

        async def __call__(self, deliveries: Sequence[Delivery]) -> Taken:
            taken = await several(deliveries)
            if len(taken.outcomes) > 1:
                await hang("after")
            return taken

    binding = Binding(
        durable,
        {builds.BuildStarted: handler if given.most == 1 else handle},
        together=Together() if given.most > 1 else None,
    )
    runtime = ConsumerRuntime(given.nats, [binding])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await runtime.start()
    print("started", flush=True)
    await stop.wait()
    await runtime.stop()
    await database.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for argument in ("name", "durable", "project", "nats", "database"):
        parser.add_argument(argument)
    parser.add_argument("--hang", choices=("inside", "after"))
    parser.add_argument("--most", type=int, default=1)
    asyncio.run(main(parser.parse_args()))
