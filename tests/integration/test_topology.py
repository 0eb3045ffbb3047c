"""The topology step against a real server: it converges, and then it leaves things alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig
from typing_extensions import override

from cli.embedded.nats import NatsServer
from events.drift import TopologyRefused
from events.nats_bus import connect, disconnect
from events.streams import DURABLES, STREAMS, Durable, Stream
from events.topology import apply, missing, plan, provision, provision_url
from tests.support.servers import ServerHost, free_port
from zeitwork import ids
from zeitwork.errors import BrokerUnavailable


class CountingJetStream(JetStreamContext):
    """Counts the requests that change something."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.changes = 0

    @override
    async def _api_request(self, req_subject: str, req: bytes = b"", timeout: float = 5) -> Any:
        self.changes += ".INFO." not in req_subject
        return await super()._api_request(req_subject, req, timeout)


@pytest.fixture(scope="module")
def url(server_host: ServerHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose streams may be deleted."""
    directory = tmp_path_factory.mktemp("nats")
    with server_host.running(
        lambda: NatsServer(directory, port=free_port(), monitor_port=free_port())
    ) as server:
        yield server.url.get_secret_value()


@pytest.fixture
async def js(url: str) -> AsyncIterator[CountingJetStream]:
    """JetStream without streams."""
    client = await connect(url, name="topology-test")
    js = CountingJetStream(client)
    for info in await js.streams_info():
        await js.delete_stream(str(info.config.name))
    js.changes = 0
    yield js
    await disconnect(client)


@pytest.fixture
def own() -> Stream:
    name = f"T_{ids.token(6)}"
    return Stream(name, "of a test", (f"{name}.>",), max_age=3600, max_bytes=1024 * 1024)


async def test_everything_is_made_and_a_second_run_changes_nothing(js: CountingJetStream) -> None:
    assert len(await missing(js)) == len(STREAMS) + len(DURABLES)
    changes = await provision(js)
    assert changes == [
        *(f"created stream {stream.name}" for stream in STREAMS),
        *(f"created durable {durable.name}" for durable in DURABLES),
    ]
    assert await missing(js) == []
    js.changes = 0
    assert await provision(js) == []
    assert js.changes == 0


async def test_streams_are_as_the_design_wants_them(js: CountingJetStream, url: str) -> None:
    await provision_url(url)
    events = (await js.stream_info("ZW_EVENTS")).config
    jobs = (await js.stream_info("ZW_JOBS")).config
    assert events.allow_atomic
    assert events.allow_direct
    assert events.deny_delete
    assert events.compression == "s2"
    assert events.storage == "file"
    assert events.max_age == 14 * 24 * 3600
    assert jobs.retention == "workqueue"
    assert jobs.discard == "new"
    assert jobs.discard_new_per_subject
    assert jobs.max_msgs_per_subject == 1
    assert (await js.stream_info("ZW_DLQ")).config.allow_atomic
    assert (await js.stream_info("ZW_DEFERRALS")).config.allow_msg_counter
    assert "zeitwork.config" in (events.metadata or {})


async def test_durables_are_as_the_design_wants_them(js: CountingJetStream) -> None:
    await provision(js)
    for durable in DURABLES:
        config = (await js.consumer_info(durable.stream, durable.name)).config
        assert config.ack_policy == "explicit"
        assert config.deliver_policy == "all"
        assert config.max_deliver == durable.max_deliver
        assert config.ack_wait == durable.ack_wait
        assert config.max_ack_pending == durable.max_ack_pending
        assert set(config.filter_subjects or ()) == set(durable.filters)
        assert config.backoff is None
        assert config.description == durable.description


@pytest.mark.parametrize(
    "change",
    [{"max_age": 600.0}, {"max_msgs_per_subject": 7}, {"max_bytes": 1024}, {"max_msgs": 10}],
)
async def test_what_would_throw_messages_away_needs_force(
    js: CountingJetStream, own: Stream, change: dict[str, Any]
) -> None:
    await provision(js, streams=[own], durables=[])
    before = (await js.stream_info(own.name)).config
    wanted = replace(own, **change)
    changes = await plan(js, streams=[wanted], durables=[])
    assert [one.shrinks for one in changes] == [True]
    assert await provision(js, streams=[wanted], durables=[]) == []
    with pytest.raises(TopologyRefused, match="--force"):
        await apply(js, changes)
    assert (await js.stream_info(own.name)).config == before
    await apply(js, changes, force=True)
    assert await plan(js, streams=[wanted], durables=[]) == []


async def test_a_plan_changes_nothing_and_shows_both_values(
    js: CountingJetStream, own: Stream
) -> None:
    await provision(js, streams=[own], durables=[])
    js.changes = 0
    (change,) = await plan(js, streams=[replace(own, max_age=7200.0)], durables=[])
    assert js.changes == 0
    assert str(change).startswith(f"update stream {own.name}: max_age 3600")
    assert "→ 7200" in str(change)


@pytest.mark.parametrize(
    "change",
    [
        {"max_age": 6000.0},
        {"max_bytes": 0},
        {"duplicate_window": 30.0},
        {"compression": True},
        {"atomic": True},
        {"deny_delete": True},
        {"description": "another"},
        {"discard": "new"},
    ],
)
async def test_a_drifted_stream_is_updated_once(
    js: CountingJetStream, own: Stream, change: dict[str, Any]
) -> None:
    await provision(js, streams=[own], durables=[])
    wanted = replace(own, **change)
    (line,) = await provision(js, streams=[wanted], durables=[])
    assert line.startswith(f"updated stream {own.name}: ")
    assert await provision(js, streams=[wanted], durables=[]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ack_wait": 5.0},
        {"max_ack_pending": 3},
        {"description": "another"},
        {"several": True},
    ],
)
async def test_a_drifted_durable_is_updated_once(
    js: CountingJetStream, own: Stream, change: dict[str, Any]
) -> None:
    durable = Durable("d-v1", "of a test", own.name, (f"{own.name}.one.>",))
    if change == {"several": True}:
        change = {"filters": (f"{own.name}.two.>", f"{own.name}.one.>")}
    await provision(js, streams=[own], durables=[durable])
    wanted = replace(durable, **change)
    (line,) = await provision(js, streams=[own], durables=[wanted])
    assert line.startswith("updated durable d-v1: ")
    assert await provision(js, streams=[own], durables=[wanted]) == []


async def test_an_older_filter_field_and_other_hands_are_converged(
    js: CountingJetStream, own: Stream
) -> None:
    await provision(js, streams=[own], durables=[])
    subject = f"{own.name}.one.>"
    await js.add_consumer(own.name, ConsumerConfig(durable_name="d-v1", filter_subject=subject))
    durable = Durable("d-v1", "of a test", own.name, (subject,))
    (line,) = await provision(js, streams=[own], durables=[durable])
    assert f"max_deliver -1 → {durable.max_deliver}" in line
    assert await provision(js, streams=[own], durables=[durable]) == []


async def test_what_we_do_not_name_stays(js: CountingJetStream, own: Stream) -> None:
    await js.add_stream(
        StreamConfig(
            name=own.name, subjects=list(own.subjects), max_consumers=5, metadata={"a": "b"}
        )
    )
    await provision(js, streams=[own], durables=[])
    config = (await js.stream_info(own.name)).config
    assert config.max_consumers == 5
    assert (config.metadata or {})["a"] == "b"


async def test_messages_and_positions_survive_an_update(js: CountingJetStream, own: Stream) -> None:
    durable = Durable("d-v1", "of a test", own.name, (f"{own.name}.>",))
    await provision(js, streams=[own], durables=[durable])
    for number in range(3):
        await js.publish(f"{own.name}.{number}", b"x")
    puller = await js.pull_subscribe_bind("d-v1", own.name)
    (message,) = await puller.fetch(1)
    await message.ack_sync()
    await provision(
        js, streams=[replace(own, max_age=600)], durables=[replace(durable, ack_wait=9)]
    )
    info = await js.consumer_info(own.name, "d-v1")
    assert info.num_pending == 2
    assert (await js.stream_info(own.name)).state.messages == 3


async def test_several_at_once_agree(js: CountingJetStream) -> None:
    await asyncio.gather(*(provision(js) for _ in range(4)))
    assert await provision(js) == []


async def test_a_change_that_cannot_be_made_is_refused(js: CountingJetStream, own: Stream) -> None:
    await provision(js, streams=[own], durables=[])
    with pytest.raises(TopologyRefused, match="retention"):
        await provision(js, streams=[replace(own, retention="workqueue")], durables=[])


async def test_a_server_that_is_away_is_named_without_its_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("events.nats_bus.TIMEOUT_SECONDS", 0.2)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 does not answer") as caught:
        await connect("nats://secret@127.0.0.1:1", name="away")
    assert "secret" not in str(caught.value)
