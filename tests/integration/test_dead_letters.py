"""Dead letters end to end: server, database, relay, runtime and API are the real ones."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from cli.embedded.nats import NatsServer
from consumers.binding import Binding, Bound, RawBinding
from consumers.dead_letters.handler import Redriver, Registrar, Undertaker
from consumers.handling import once
from consumers.outcomes import Done, Outcome
from consumers.runtime import ConsumerRuntime
from db.models import DeadLetter
from db.session import Take, Transaction, UnitOfWork
from events import streams
from events.builds import BuildRequested
from events.bus import Message, Stored
from events.dead_letters import DeadLetterRedriven
from events.envelope import Envelope, wrap
from events.instances import InstanceReady
from events.memory_log import matches
from events.nats_bus import NatsBus
from events.streams import Durable
from events.topology import provision_url
from producers.relay import Relay
from tests.support.api import Api, assert_problem, dependencies, serving
from tests.support.eventually import eventually
from tests.support.factories import events_of, every
from tests.support.hanging_consumer import SHORT_LIVED, kill_when_begun
from tests.support.servers import ServerHost, free_port
from zeitwork.errors import Unavailable

FAILING = replace(streams.DEPLOYMENTS, attempts=2, delays=(0.05,))
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
READY = InstanceReady(instance_id="ins", deployment_id="dep", environment_id="env")


@dataclass
class Witness:
    """A fact handler that fails as often as told; `seen` are the events that it took."""

    failures: int = 0
    seen: list[str] = field(default_factory=list)
    tries: int = 0

    async def __call__(self, _tx: Transaction, event: InstanceReady) -> Outcome:
        self.tries += 1
        if self.tries <= self.failures:
            raise Unavailable("not today")
        self.seen.append(event.instance_id)
        return Done()


class World:
    """One installation of the dead letters' parts on a server of its own."""

    def __init__(self, url: str, bus: NatsBus, work: UnitOfWork, api: Api) -> None:
        self.url = url
        self.bus = bus
        self.work = work
        self.api = api

    @asynccontextmanager
    async def consuming(self, *bindings: Bound) -> AsyncIterator[None]:
        """The bindings run during the block, besides the group of the dead letters."""
        redrive = once(self.work, streams.REDRIVES.name, Redriver(self.bus))
        group: list[Bound] = [
            RawBinding(streams.ADVISED, Undertaker(self.bus)),
            RawBinding(streams.DEAD_LETTERS, Registrar(self.work)),
            Binding(streams.REDRIVES, {DeadLetterRedriven: redrive}),
        ]
        runtime = ConsumerRuntime(self.url, [*group, *bindings], graceful_seconds=1.0)
        try:
            await runtime.start()
            yield
        finally:
            await runtime.stop()

    def facts(self, durable: Durable, handler: Witness) -> Binding:
        return Binding(durable, {InstanceReady: once(self.work, durable.name, handler)})

    async def say_ready(self) -> Envelope:
        async with self.work.transaction() as tx:
            return tx.emit(READY, subject="ins")

    async def letters(self, count: int = 1) -> Sequence[DeadLetter]:
        """The table's rows, as soon as there are `count`."""

        async def found() -> Sequence[DeadLetter]:
            rows = await every(self.work, DeadLetter)
            assert len(rows) == count, [(row.error_code, row.subject) for row in rows]
            return rows

        return await eventually(found)

    async def redrive(self, letter: DeadLetter) -> None:
        answer = await self.api.post(f"/dead-letters/{letter.id}/redrive")
        assert (answer.status, answer.json["state"]) == (202, "redriven")

    async def settled(self, *durables: Durable) -> None:
        """Until the durables have nothing left to do."""

        async def idle() -> bool:
            js = self.bus.jetstream
            infos = [await js.consumer_info(one.stream, one.name) for one in durables]
            return not any(info.num_pending or info.num_ack_pending for info in infos)

        await eventually(idle)

    async def stored(self, stream: str, subject: str) -> list[Stored]:
        state = (await self.bus.jetstream.stream_info(stream)).state
        places = range(state.first_seq, state.last_seq + 1)
        found = [await self.bus.fetch(stream, place) for place in places]
        return [one for one in found if one is not None and matches(subject, one.subject)]


@pytest.fixture
async def world(
    server_host: ServerHost, work: UnitOfWork, tmp_path: Path, traces: None
) -> AsyncIterator[World]:
    def server() -> NatsServer:
        return NatsServer(tmp_path / "nats", port=free_port(), monitor_port=free_port())

    async with AsyncExitStack() as stack:
        url = stack.enter_context(server_host.running(server)).url.get_secret_value()
        await provision_url(url)
        bus = NatsBus(url, name="test")
        await bus.start()
        stack.push_async_callback(bus.stop)
        relay = Relay(bus, work)
        await relay.start()
        stack.push_async_callback(relay.stop)
        api = await stack.enter_async_context(serving(dependencies(work, bus, tmp_path)))
        yield World(url, bus, work, api)


async def test_only_the_durable_that_failed_gets_the_message_again(world: World) -> None:
    failing, other = Witness(failures=2), Witness()
    async with world.consuming(world.facts(FAILING, failing), world.facts(streams.ROUTING, other)):
        said = await world.say_ready()
        (letter,) = await world.letters()
        assert (letter.durable, letter.attempts, letter.event_id) == (FAILING.name, 2, said.id)
        assert (letter.error_code, letter.error_detail) == ("unavailable", "not today")
        assert failing.seen == []
        await world.redrive(letter)
        await eventually(lambda: failing.seen == ["ins"])
        await world.settled(FAILING, streams.ROUTING)
    assert failing.tries == 3
    assert other.tries == 1
    (again,) = await world.stored("ZW_EVENTS", "zw.redrive.>")
    assert again.subject.startswith(f"zw.redrive.{FAILING.name}.evt.")


async def test_a_decision_is_final_and_says_who_took_it(world: World) -> None:
    async with world.consuming(world.facts(FAILING, Witness(failures=2))):
        said = await world.say_ready()
        (letter,) = await world.letters()
        await world.redrive(letter)
        again = await world.api.post(f"/dead-letters/{letter.id}/redrive")
        assert_problem(again, 409, "illegal_move")
        other = await world.api.post(f"/dead-letters/{letter.id}/discard")
        assert_problem(other, 409, "illegal_move")
        await eventually(lambda: world.stored("ZW_EVENTS", "zw.redrive.>"))
        await world.settled(FAILING, streams.REDRIVES)
    (fact,) = await events_of(world.work.database, type_="dead_letter.redriven")
    assert (fact.aggregate_id, fact.actor) == (letter.id, "api")
    assert fact.correlation_id == said.correlation_id
    assert len(await world.stored("ZW_EVENTS", "zw.redrive.>")) == 1


async def test_the_message_keeps_its_headers(world: World) -> None:
    failing = Witness(failures=4)
    envelope = wrap(READY, subject="ins", source="test")
    fact = Message.of(envelope, "zw.evt.0.instance.ready.none.ins")
    sent = replace(fact, headers={**fact.headers, "traceparent": TRACE, "x-own": "é"})
    async with world.consuming(world.facts(FAILING, failing)):
        await world.bus.publish([sent])
        (letter,) = await world.letters()
        await world.redrive(letter)
        first, second = await world.letters(2)
        assert second.headers == {**sent.headers, "zw-redrive-of": first.id}
        assert (second.payload, second.event_id) == (sent.data, sent.id)
        await world.redrive(second)
        await eventually(lambda: failing.seen == ["ins"])
    once_more, twice_more = await world.stored("ZW_EVENTS", "zw.redrive.>")
    for message, of in ((once_more, first), (twice_more, second)):
        assert message.subject == f"zw.redrive.{FAILING.name}.evt.0.instance.ready.none.ins"
        headers = {**message.headers}
        assert headers.pop("Nats-Msg-Id") == f"redrive:{of.id}"
        assert headers == {**sent.headers, "zw-redrive-of": of.id}
        assert message.data == sent.data


async def test_a_redrive_takes_effect_though_the_inbox_has_the_event(world: World) -> None:
    failing = Witness(failures=2)
    async with world.consuming(world.facts(FAILING, failing)):
        said = await world.say_ready()
        (letter,) = await world.letters()
        for consumer in (FAILING.name, "another"):
            async with world.work.transaction(take=Take(consumer, [said.id])) as tx:
                assert tx.first_time
        await world.redrive(letter)
        await eventually(lambda: failing.seen == ["ins"])
    async with world.work.transaction(take=Take("another", [said.id])) as tx:
        assert not tx.first_time


async def test_poison_is_buried_and_the_rest_goes_on(world: World) -> None:
    witness = Witness()
    good = Message.of(wrap(READY, subject="ins", source="test"), "zw.evt.0.instance.ready.none.ins")
    poison = [
        replace(good, id=None, data=b"\xff\xfe not JSON"),
        replace(good, id=None, data=b"[" * 5_000),
        replace(good, id=None, headers={}),
        replace(good, id=None, headers={**good.headers, "ce-type": "zeitwork.no.such"}),
        replace(good, id=None, headers={**good.headers, "ce-schemaversion": "9" * 5_000}),
        replace(good, id=None, headers={**good.headers, "ce-id": "\x00", "ce-project": "x" * 300}),
    ]
    async with world.consuming(world.facts(FAILING, witness)):
        await world.bus.publish(poison)
        await _publish_by_hand(world.url, good.subject)
        await world.bus.publish([good])
        letters = await world.letters(len(poison) + 1)
        await eventually(lambda: witness.seen == ["ins"])
        await world.settled(FAILING, streams.DEAD_LETTERS, streams.ADVISED)
    assert {letter.durable for letter in letters} == {FAILING.name}
    for letter in letters:
        shown = await world.api.get(f"/dead-letters/{letter.id}")
        assert shown.status == 200, shown.body


async def test_letters_that_say_nonsense_do_not_stop_the_next(world: World) -> None:
    whole = {
        "zw-stream": "ZW_EVENTS",
        "zw-durable": "deployments-v1",
        "zw-sequence": "7",
        "zw-attempts": "2",
    }
    strange: list[dict[str, str]] = [
        {},
        {**whole, "zw-sequence": "-1"},
        {**whole, "zw-sequence": str(1 << 63), "zw-attempts": "many"},
        {**whole, "zw-sequence": "8", "zw-attempts": str(1 << 31), "zw-error-code": "x" * 900},
        {**whole, "zw-sequence": "9", "zw-subject": "s" * 900, "ce-id": "evt_no", "ce-type": "\0"},
        {**whole, "zw-durable": "d" * 65, "zw-stream": ""},
    ]
    subject = "zw.dlq.ZW_EVENTS.deployments-v1.odd"
    async with world.consuming():
        await world.bus.publish([Message(subject, b"", headers) for headers in strange])
        await world.bus.publish([Message(subject, b"{}", whole)])
        letters = await world.letters(len(strange) + 1)
    assert [letter.sequence for letter in letters if letter.stream == "ZW_EVENTS"] == [8, 9, 7]
    assert [letter.sequence for letter in letters if letter.stream == "ZW_DLQ"] == [1, 2, 3, 6]
    assert {letter.event_id for letter in letters} == {None}


async def test_a_term_of_our_own_makes_no_second_letter(world: World) -> None:
    async with world.consuming(world.facts(FAILING, Witness(failures=9))):
        await world.say_ready()
        await world.letters()

        async def told() -> bool:
            return bool(await world.stored("ZW_ADVISORY", ">"))

        await eventually(told)
        await world.settled(streams.ADVISED, streams.DEAD_LETTERS)
        assert len(await world.letters()) == 1
    assert len(await world.stored("ZW_DLQ", ">")) == 1


async def test_a_message_ended_by_hand_is_buried(world: World) -> None:
    """Even one that the client library would take for an answer of the server's."""
    async with world.consuming():
        await world.bus.publish(
            [Message("zw.evt.0.instance.ready.none.ins", b"{}", {"Status": "503", "x": "y"})]
        )
        client, durable = world.bus.client, streams.ROUTING.name
        inbox_ = client.new_inbox()
        answers = await client.subscribe(inbox_)
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.ZW_EVENTS.{durable}", b"1", reply=inbox_)
        await (await answers.next_msg(timeout=20)).term()
        (letter,) = await world.letters()
    assert (letter.durable, letter.error_code) == (streams.ROUTING.name, "terminated")
    assert (letter.payload, letter.headers) == (b"{}", {"x": "y"})


async def test_a_job_that_kills_its_process_is_buried_and_can_be_redriven(world: World) -> None:
    requested = BuildRequested(build_id="bld", deployment_id="dep")
    await provision_url(world.url, durables=[SHORT_LIVED])
    async with world.work.transaction() as tx:
        said = tx.emit(requested, subject="bld")
    for _ in range(SHORT_LIVED.max_deliver):
        await kill_when_begun(world.url)
    async with world.consuming():
        (letter,) = await world.letters()
        assert (letter.error_code, letter.attempts) == ("max_deliveries", 2)
        assert (letter.stream, letter.durable) == ("ZW_JOBS", SHORT_LIVED.name)
        assert (letter.event_id, letter.payload) == (said.id, requested.encode())
        await world.settled(streams.ADVISED)
        assert await world.stored("ZW_JOBS", ">") == []
        await world.redrive(letter)
        await world.settled(streams.REDRIVES)
        (queued,) = await eventually(lambda: world.stored("ZW_JOBS", ">"))
    assert queued.subject == letter.subject
    assert queued.headers["zw-redrive-of"] == letter.id
    handled: list[str] = []

    async def build(envelope: Envelope) -> Outcome:
        handled.append(envelope.id)
        return Done()

    async with world.consuming(Binding(SHORT_LIVED, {BuildRequested: build})):
        await eventually(lambda: handled == [said.id])


async def test_a_redriven_job_gets_past_its_first_message(world: World) -> None:
    """The queue holds one message a job; the dead one may still be there."""
    message = Message("zw.job.build.production.none.bld", b"{}", {"ce-type": "x"}, "first")
    await world.bus.publish([message])
    (first,) = await world.stored("ZW_JOBS", ">")
    letter = {
        "zw-stream": "ZW_JOBS",
        "zw-durable": streams.BUILDS_PRODUCTION.name,
        "zw-sequence": str(first.sequence),
        "zw-subject": message.subject,
    }
    async with world.consuming():
        await world.bus.publish([Message("zw.dlq.ZW_JOBS.x.y", message.data, letter)])
        (row,) = await world.letters()
        await world.redrive(row)

        async def replaced() -> bool:
            (queued,) = await world.stored("ZW_JOBS", ">") or [first]
            return queued.sequence != first.sequence

        await eventually(replaced)


async def test_a_letter_is_written_before_its_message_ends(world: World) -> None:
    builds = replace(streams.BUILDS_PRODUCTION, attempts=1, delays=(0.1,))
    js = world.bus.jetstream

    async def fail(_envelope: Envelope) -> Outcome:
        raise Unavailable("no builder today")

    async def came_again() -> bool:
        return bool((await js.consumer_info("ZW_JOBS", builds.name)).num_redelivered)

    async with world.consuming(Binding(builds, {BuildRequested: fail})):
        await js.update_stream((await js.stream_info("ZW_DLQ")).config, max_msg_size=1)
        async with world.work.transaction() as tx:
            said = tx.emit(BuildRequested(build_id="bld", deployment_id="dep"), subject="bld")
        await eventually(came_again)
        await provision_url(world.url, durables=[])
        (letter,) = await world.letters()
        await world.settled(builds)
    assert letter.event_id == said.id


async def test_what_no_durable_takes_stays_open(world: World) -> None:
    letter = {"zw-stream": "ZW_EVENTS", "zw-durable": "gone-v1", "zw-sequence": "3"}
    async with world.consuming():
        await world.bus.publish([Message("zw.dlq.ZW_EVENTS.gone-v1.x", b"{}", letter)])
        (row,) = await world.letters()
    refused = await world.api.post(f"/dead-letters/{row.id}/redrive")
    assert_problem(refused, 409, "not_redrivable")
    shown = await world.api.get(f"/dead-letters/{row.id}")
    assert (shown.json["state"], shown.json["decided_by"]) == ("open", None)


async def _publish_by_hand(url: str, subject: str) -> None:
    """Publish with header names that no client library would send."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    headers = b"NATS/1.0\r\nce-id(1)/x: y\r\n\xff\xfe: z\r\nno colon\r\n\r\n"
    hello: dict[str, Any] = {"verbose": False, "headers": True, "auth_token": address.username}
    await reader.readline()
    writer.write(b"CONNECT %s\r\n" % json.dumps(hello).encode())
    writer.write(b"HPUB %s %d %d\r\n" % (subject.encode(), len(headers), len(headers) + 4))
    writer.write(headers + b"body\r\nPING\r\n")
    assert await asyncio.wait_for(reader.readline(), 20) == b"PONG\r\n"
    writer.close()
    await writer.wait_closed()
