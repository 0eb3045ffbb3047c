"""Messages that no one can read, and a whole history again in another order."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import delete

from db.models import DeadLetter, Inbox
from events import topology
from events.states import DeadLetterState
from events.streams import GITHUB
from tests.failures import evidence
from tests.failures.platform import Platform
from tests.support.digest import WRITES, digest
from tests.support.eventually import eventually
from tests.support.factories import envelope, every, push

pytestmark = pytest.mark.timeout(330)
_SUBJECT = GITHUB.filters[0]


async def test_six_kinds_of_poison_are_buried_and_what_comes_behind_is_served(
    platform: Platform,
) -> None:
    body = push("whd_01h455vb4pex5vsknk084sn02q").data.encode()
    poison: dict[str, tuple[dict[str, str], bytes]] = {
        "no headers": ({}, body),
        "no JSON": (_headers(), b"\x00\xff{"),
        "too deep": (_headers(), b"[" * 100_000),
        "not its type": (_headers(), b'{"delivery_id": 1}'),
        "of no known type": ({**_headers(), "ce-type": "zeitwork.push.imagined"}, body),
        "of no version": ({**_headers(), "ce-schemaversion": "x"}, body),
    }
    await platform.start_all()
    subject = _SUBJECT.replace("*", "0")
    async with topology.jetstream(platform.nats.url.get_secret_value()) as js:
        sent = {
            (await js.publish(subject, data, headers=said or None)).seq: data
            for said, data in poison.values()
        }
        await platform.goes_live("behind poison")
        letters = await evidence.stored(js, "ZW_DLQ")
    assert [letter["zw-durable"] for letter in letters] == [GITHUB.name] * len(poison)
    assert {letter["zw-error-code"] for letter in letters} <= {
        "undecodable_event", "unknown_event",
    }  # fmt: skip
    rows = await every(platform.work, DeadLetter)
    assert {row.sequence: row.payload for row in rows} == sent
    assert [(row.durable, row.stream, row.state) for row in rows] == [
        (GITHUB.name, "ZW_EVENTS", DeadLetterState.OPEN)
    ] * len(poison)
    assert sorted((row.error_code, str(row.attempts)) for row in rows) == sorted(
        (letter["zw-error-code"], letter["zw-attempts"]) for letter in letters
    )
    assert platform.processes["consumers"].alive


async def test_a_recorded_history_three_times_and_shuffled_ends_where_it_ended(
    platform: Platform,
) -> None:
    """As after a refill when the inbox has forgotten: only the rows can tell what is new."""
    await platform.start_all()
    async with platform.sender.load(per_second=10, most=4):
        await platform.goes_live("one")
    await platform.goes_live("two")
    async with topology.jetstream(platform.nats.url.get_secret_value()) as js:
        recorded = await evidence.messages(js, "ZW_EVENTS")
        before = await digest(platform.database, ignore=WRITES)
        async with platform.work.transaction() as tx:
            await tx.session.execute(delete(Inbox))
        again = recorded * 3
        random.Random(3).shuffle(again)
        for message in again:
            headers = {
                name: text
                for name, text in (message.headers or {}).items()
                if not name.startswith("Nats-")
            }
            assert message.subject is not None
            await js.publish(message.subject, message.data or b"", headers=headers)

        async def handled() -> bool:
            return await evidence.waiting(platform.database, js) == []

        await eventually(handled, timeout=60)
    assert await digest(platform.database, ignore=WRITES) == before
    assert await evidence.leftovers(platform.database, platform.data) == []


def _headers() -> dict[str, str]:
    """Those of an event of its own."""
    return envelope(push("whd").data, subject="whd").headers()
