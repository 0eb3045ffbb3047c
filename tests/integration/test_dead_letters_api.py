"""Dead letters through the API and the command line, and how many are open."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from consumers.dead_letters.gauge import DeadLetterGauge
from db.models import DeadLetter
from db.queries.dead_letters import NewDeadLetter, dead_letter_store
from db.session import UnitOfWork
from producers.api.routes import PREFIX
from producers.housekeeper import Housekeeper
from tests.support.api import API_TOKEN, Api, assert_problem
from tests.support.factories import MovableClock, events_of, every, fetch
from zeitwork import clock, ids, metrics


async def store(work: UnitOfWork, sequence: int = 1, **changes: Any) -> str:
    fields: dict[str, Any] = {
        "stream": "ZW_EVENTS",
        "durable": "routing-v1",
        "sequence": sequence,
        "subject": "zw.evt.0.instance.ready.none.ins",
        "event_id": ids.new(ids.Prefix.EVENT),
        "event_type": "instance.ready",
        "correlation_id": "cor",
        "organisation_id": None,
        "project_id": None,
        "headers": {"traceparent": "00-a-b-01"},
        "payload": b'{"a": 1}',
        "attempts": 6,
        "error_code": "unavailable",
        "error_detail": "away",
        **changes,
    }
    async with work.transaction() as tx:
        stored = await dead_letter_store(tx, NewDeadLetter(**fields))
    assert stored is not None
    return stored


async def test_a_letter_is_kept_once(work: UnitOfWork) -> None:
    event_id = ids.new(ids.Prefix.EVENT)
    await store(work, event_id=event_id)
    await store(work, event_id=None)
    for again in (event_id, None):
        with pytest.raises(AssertionError):
            await store(work, event_id=again)
    await store(work, event_id=event_id, durable="another-v1")
    assert len(await every(work, DeadLetter)) == 3


async def test_the_list_is_newest_first_and_filtered(api: Api, work: UnitOfWork) -> None:
    mine = [await store(work, number) for number in range(1, 5)]
    other = await store(work, 9, durable="github-v1")
    await api.post(f"/dead-letters/{mine[0]}/discard")
    everything = (await api.get("/dead-letters")).json["items"]
    assert [each["id"] for each in everything] == [other, *reversed(mine)]
    query = "/dead-letters?state=open&durable=routing-v1&limit=2"
    first = (await api.get(query)).json
    assert [each["id"] for each in first["items"]] == [mine[3], mine[2]]
    second = (await api.get(f"{query}&before={first['next']}")).json
    assert [each["id"] for each in second["items"]] == [mine[1]]
    assert second["next"] is None


@pytest.mark.parametrize(
    "query", ["state=lost", "durable=a.b", "durable=%00", "before=evt_1", "limit=0", "x=1"]
)
async def test_a_filter_that_cannot_be_is_refused(api: Api, query: str) -> None:
    assert (await api.get(f"/dead-letters?{query}")).status == 400


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a": [1, "\xc3\xa9", null]}',
        b'"\\ud800"',
        b"[" * 99 + b"]" * 99,
        b"0",
    ],
)
async def test_a_json_body_is_shown_as_json(api: Api, work: UnitOfWork, payload: bytes) -> None:
    shown = await api.get(f"/dead-letters/{await store(work, payload=payload)}")
    assert shown.json["body_encoding"] == "json"
    assert shown.json["body"] == json.loads(payload)
    assert shown.json["headers"] == {"traceparent": "00-a-b-01"}
    assert (shown.json["error_code"], shown.json["attempts"]) == ("unavailable", 6)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00\xff", b"{", b"NaN", b"[" * 101 + b"]" * 101, b"[" * 99_999, b"9" * 9_999],
    ids=["empty", "binary", "cut", "NaN", "deep", "endless", "long number"],
)
async def test_any_other_body_is_shown_in_base64(
    api: Api, work: UnitOfWork, payload: bytes
) -> None:
    shown = await api.get(f"/dead-letters/{await store(work, payload=payload)}")
    assert shown.json["body_encoding"] == "base64"
    assert base64.b64decode(shown.json["body"]) == payload


@pytest.mark.parametrize("letter", ["dlt_01k0000000e000000000000001", "dlt_nope", "evt_1", "%00"])
async def test_an_unknown_letter_is_not_found(api: Api, letter: str) -> None:
    assert_problem(await api.get(f"/dead-letters/{letter}"), 404, "not_found")
    for decision in ("redrive", "discard"):
        answer = await api.post(f"/dead-letters/{letter}/{decision}")
        assert_problem(answer, 404, "not_found")


async def test_nobody_decides_without_a_token(api: Api, work: UnitOfWork) -> None:
    letter = await store(work)
    answer = await api.post(f"/dead-letters/{letter}/discard", token=None)
    assert_problem(answer, 401, "unauthenticated")
    assert (await fetch(work, DeadLetter, letter)).state == "open"


async def test_a_discarded_letter_stays_so(api: Api, work: UnitOfWork) -> None:
    letter = await store(work)
    discarded = await api.post(f"/dead-letters/{letter}/discard")
    assert (discarded.status, discarded.json["state"]) == (200, "discarded")
    assert discarded.json["decided_by"] == "api"
    refused = await api.post(f"/dead-letters/{letter}/redrive")
    assert_problem(refused, 409, "illegal_move")
    assert refused.json["detail"].startswith(f"{letter} was discarded already by api at ")
    assert f"zeitwork events dead show {letter}" in refused.json["detail"]
    (fact,) = await events_of(work.database)
    assert (fact.type, fact.aggregate_id, fact.actor) == ("dead_letter.discarded", letter, "api")
    assert fact.correlation_id == "cor"


async def test_of_many_who_decide_at_once_one_wins(api: Api, work: UnitOfWork) -> None:
    letter = await store(work)
    paths = [f"/dead-letters/{letter}/{what}" for what in ("redrive", "discard")] * 4
    answers = await asyncio.gather(*(api.post(path) for path in paths))
    assert sorted(answer.status for answer in answers)[1:] == [409] * 7
    assert len(await events_of(work.database)) == 1


def measured() -> dict[str, float]:
    return {
        sample.labels["durable"]: sample.value
        for metric in metrics.DEAD_LETTERS_OPEN.collect()
        for sample in metric.samples
        if sample.value
    }


async def test_open_letters_are_counted_by_durable(api: Api, work: UnitOfWork) -> None:
    gauge = DeadLetterGauge(work)
    last = [await store(work, number) for number in range(1, 4)][-1]
    await store(work, 1, durable="made-up")
    await store(work, 2, durable="made-up-too")
    await gauge.round()
    assert measured() == {"routing-v1": 3, "other": 2}
    await api.post(f"/dead-letters/{last}/redrive")
    await gauge.round()
    assert measured() == {"routing-v1": 2, "other": 2}
    gauge.rest()
    assert measured() == {}


async def test_decided_letters_are_forgotten_in_the_end(api: Api, work: UnitOfWork) -> None:
    decided, waiting = await store(work, 1), await store(work, 2)
    await api.post(f"/dead-letters/{decided}/discard")
    movable = MovableClock()
    with clock.using(movable):
        await Housekeeper(work).round()
        assert len(await every(work, DeadLetter)) == 2
        movable.advance(91 * 86_400)
        await Housekeeper(work).round()
    assert [letter.id for letter in await every(work, DeadLetter)] == [waiting]


@dataclass(frozen=True)
class Ended:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


async def zeitwork(api: Api, *arguments: str) -> Ended:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "events", "dead", *arguments),
        env={
            "ZEITWORK_API_URL": api.base.removesuffix(PREFIX),
            "ZEITWORK_API_TOKEN": API_TOKEN,
            "PATH": "",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def test_the_commands_list_and_show(api: Api, work: UnitOfWork) -> None:
    letter = await store(work, headers={"x": "\x1b]0;title\x07"}, error_detail="a\x1b[2Jb")
    listed = await zeitwork(api, "list")
    assert (listed.code, listed.err) == (0, "")
    assert letter in listed.out
    assert "routing-v1" in listed.out
    shown = await zeitwork(api, "show", letter)
    assert shown.code == 0
    assert "unavailable: ab" in shown.out
    assert "\x1b" not in shown.out
    assert '"a": 1' in shown.out
    as_json = await zeitwork(api, "show", letter, "--json")
    assert json.loads(as_json.out)["id"] == letter
    missing = await zeitwork(api, "show", "dlt_nope")
    assert (missing.code, missing.out) == (3, "")


async def test_the_commands_decide_about_several(api: Api, work: UnitOfWork) -> None:
    one, other = await store(work, 1), await store(work, 2)
    decided = await zeitwork(api, "redrive", one, "dlt_nope", other)
    assert decided.code == 3
    assert decided.out.split() == [one, "redriven", other, "redriven"]
    assert "dlt_nope" in decided.err
    twice = await zeitwork(api, "redrive", one)
    assert (twice.code, twice.out) == (5, "")
    said = " ".join(twice.err.split())
    assert said.startswith(f"{one} was redriven already by api at ")
    assert said.endswith("`zeitwork events dead list` shows a new dead letter.")
    again = await zeitwork(api, "discard", one, "--json")
    assert again.code == 5
    assert json.loads(again.out)[0]["error"]["code"] == "illegal_move"


async def test_all_of_a_durable_needs_a_yes(api: Api, work: UnitOfWork) -> None:
    mine = [await store(work, number) for number in range(1, 4)]
    other = await store(work, 9, durable="github-v1")
    refused = await zeitwork(api, "discard", "--all", "--durable", "routing-v1")
    assert (refused.code, refused.out) == (2, "")
    assert "Discard 3 open dead letters of routing-v1?" in refused.err
    done = await zeitwork(api, "discard", "--all", "--durable", "routing-v1", "--yes")
    assert done.code == 0
    assert done.out.split()[::2] == mine
    assert (await fetch(work, DeadLetter, other)).state == "open"
    for arguments in ((), ("--all", other), ("--durable", "x", other)):
        assert (await zeitwork(api, "redrive", *arguments)).code == 2
