"""What an operator does with the stock `nats` program, over the same API subjects.

Not with the program itself: no package brings it that could be installed by name.
"""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client

from cli.exits import Exit
from events.bus import Message
from events.streams import DURABLES, STREAMS
from events.topology import provision
from tests.support.cli import Cli, problem
from tests.support.consumers import Calls, World
from tests.support.eventually import eventually

TOKEN_URL = "nats://s3cret@127.0.0.1:4999,nats://127.0.0.1:5000"
# The fields of `settings` in natscontext/context.go of nats-io/jsm.go.
KNOWN_KEYS = {
    "name", "description", "url", "socks_proxy", "token", "user", "password", "creds", "nkey",
    "cert", "key", "ca", "nsc", "jetstream_domain", "jetstream_api_prefix",
    "jetstream_event_prefix", "inbox_prefix", "user_jwt", "color_scheme", "tls_first",
}  # fmt: skip


async def api(client: Client, subject: str, body: object = None) -> dict[str, Any]:
    """A request as the program makes it."""
    sent = b"" if body is None else json.dumps(body).encode()
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{subject}", sent)).data)
    return answer


def context_cli(directory: Path, url: str = TOKEN_URL) -> tuple[Cli, Path]:
    cli = Cli({"XDG_CONFIG_HOME": str(directory), "ZEITWORK_NATS_URL": url})
    return cli, directory / "nats" / "context"


async def test_the_context_is_private_and_has_the_keys_of_the_program(tmp_path: Path) -> None:
    cli, contexts = context_cli(tmp_path)
    done = await cli("nats", "context")
    assert done.code == Exit.OK, done.err
    assert "s3cret" not in done.out + done.err
    path = contexts / "zeitwork.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = json.loads(path.read_text())
    assert set(found) <= KNOWN_KEYS
    assert found["url"] == "nats://127.0.0.1:4999,nats://127.0.0.1:5000"
    assert found["token"] == "s3cret"
    assert (await cli("nats", "context")).code == Exit.OK  # its own may be written again


async def test_a_printed_context_hides_the_secret_and_writes_nothing(tmp_path: Path) -> None:
    cli, contexts = context_cli(tmp_path, "nats://ann:pa55@127.0.0.1:4999")
    done = await cli("nats", "context", "--print")
    shown = json.loads(done.out)
    assert (shown["user"], shown["password"]) == ("ann", "********")
    assert not contexts.exists()


async def test_somebody_elses_context_is_not_overwritten(tmp_path: Path) -> None:
    cli, contexts = context_cli(tmp_path)
    contexts.mkdir(parents=True)
    theirs = contexts / "prod.json"
    theirs.write_text('{"description": "production", "token": "theirs"}')
    done = await cli("nats", "context", "prod", "--json")
    assert (done.code, problem(done)["code"]) == (Exit.CONFLICT, "conflict")
    assert "theirs" in theirs.read_text()
    assert (await cli("nats", "context", "prod", "--force")).code == Exit.OK
    assert json.loads(theirs.read_text())["token"] == "s3cret"


@pytest.mark.parametrize("name", ["../evil", "a/b", "a..b", ".", "", "-x "])
async def test_a_name_that_leaves_the_directory_is_refused(tmp_path: Path, name: str) -> None:
    cli, contexts = context_cli(tmp_path)
    done = await cli("nats", "context", "--json", "--", name)
    assert done.code == Exit.USAGE
    assert not contexts.exists()


async def test_streams_and_consumers_explain_themselves(world: World) -> None:
    await provision(world.bus.jetstream)
    client = world.bus.client
    listed = (await api(client, "STREAM.LIST", {}))["streams"]
    said = {each["config"]["name"]: each["config"] for each in listed}
    for stream in STREAMS:
        assert said[stream.name]["description"] == stream.description
        assert said[stream.name]["metadata"]["zeitwork.version"]
    for durable in DURABLES:
        info = await api(client, f"CONSUMER.INFO.{durable.stream}.{durable.name}")
        assert info["config"]["description"] == durable.description
        assert info["config"]["metadata"]["zeitwork.config"]


async def test_a_stored_event_is_readable(world: World) -> None:
    (message,) = await world.publish()
    found = await api(
        world.bus.client, "STREAM.MSG.GET.ZW_EVENTS", {"last_by_subj": message.subject}
    )
    headers = base64.b64decode(found["message"]["hdrs"]).decode()
    assert "ce-type: zeitwork.build.started" in headers
    assert f"ce-id: {message.id}" in headers
    assert "ce-correlationid: " in headers
    assert json.loads(base64.b64decode(found["message"]["data"]))["build_id"] == "bld-0"


async def test_a_consumer_made_by_hand_takes_nothing_from_ours(world: World) -> None:
    calls = Calls()
    async with world.running(calls):
        client = world.bus.client
        config = {
            "name": f"look-{world.project}", "deliver_policy": "all", "ack_policy": "none",
            "mem_storage": True, "inactive_threshold": 60_000_000_000,
            "filter_subject": world.durable.filters[0],
        }  # fmt: skip
        made = await api(
            client, f"CONSUMER.CREATE.ZW_EVENTS.{config['name']}",
            {"stream_name": "ZW_EVENTS", "config": config},
        )  # fmt: skip
        assert "error" not in made
        messages = await world.publish(3)
        inbox = client.new_inbox()
        seen = await client.subscribe(inbox)
        await client.publish(
            f"$JS.API.CONSUMER.MSG.NEXT.ZW_EVENTS.{config['name']}", b'{"batch": 3}', reply=inbox
        )
        taken = [(await seen.next_msg(timeout=10)).subject for _ in range(3)]
        assert sorted(taken) == sorted(message.subject for message in messages)
        await eventually(lambda: len(calls.envelopes) == 3)
        await world.wait_settled()
        await api(client, f"CONSUMER.DELETE.ZW_EVENTS.{config['name']}")
    assert {each.id for each in calls.envelopes} == {message.id for message in messages}


async def test_the_work_queue_refuses_a_second_taker(world: World) -> None:
    await provision(world.bus.jetstream)
    config = {"name": "peek", "deliver_policy": "all", "ack_policy": "explicit"}
    made = await api(
        world.bus.client, "CONSUMER.CREATE.ZW_JOBS.peek",
        {"stream_name": "ZW_JOBS", "config": config},
    )  # fmt: skip
    assert made["error"]["err_code"] in {10099, 10100}


async def test_a_job_can_be_looked_at_and_stays(world: World) -> None:
    """As `nats stream view` reads a work queue: direct, because it may make no consumer there."""
    await provision(world.bus.jetstream)
    client = world.bus.client
    subject = f"zw.job.build.production.{world.project}.bld-1"
    await world.bus.publish([Message(subject, b"{}", {"ce-id": "evt-1"})])
    asked = json.dumps({"seq": 1, "next_by_subj": subject}).encode()
    seen = [
        (await client.request("$JS.API.DIRECT.GET.ZW_JOBS", asked)).headers or {} for _ in range(2)
    ]
    assert [one["Nats-Subject"] for one in seen] == [subject, subject]
    assert [one["ce-id"] for one in seen] == ["evt-1", "evt-1"]
    await world.bus.remove("ZW_JOBS", int(seen[0]["Nats-Sequence"]))


async def test_the_context_opens_a_connection(world: World, nats_url: str, tmp_path: Path) -> None:
    cli, contexts = context_cli(tmp_path, nats_url)
    assert (await cli("nats", "context", "here")).code == Exit.OK
    found = json.loads((contexts / "here.json").read_text())
    client = await nats.connect(found["url"], token=found["token"])
    assert (await api(client, "STREAM.INFO.ZW_EVENTS"))["config"]["name"] == "ZW_EVENTS"
    await client.close()
