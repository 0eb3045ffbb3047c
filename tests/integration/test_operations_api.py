"""The API of operations, and of slices of the log."""

from __future__ import annotations

from typing import Any

import pytest

from db.models import Operation
from db.session import UnitOfWork
from events.states import OperationState
from tests.support.api import Api, assert_problem
from tests.support.factories import Conveyor, add_site, events_of, every
from tests.support.running import running_site


async def test_an_operation_is_stored_with_its_job(api: Api, work: UnitOfWork) -> None:
    answer = await api.post("/operations", {"kind": "refill"})
    assert answer.status == 202
    created = answer.json
    assert (created["state"], created["report"]) == ("queued", None)
    (row,) = await every(work, Operation)
    assert (row.id, row.state) == (created["id"], OperationState.QUEUED)
    assert row.deadline_at is not None
    (event,) = await events_of(work.database, type_="operation.requested")
    assert event.subject == f"zw.job.operation.production.none.{row.id}"
    assert (await api.get(f"/operations/{row.id}")).json == created


async def test_moments_are_fixed_when_they_are_said(api: Api) -> None:
    params = {"mode": "dry", "consumer": "routing-v1", "since": "10m"}
    created = (await api.post("/operations", {"kind": "replay", "params": params})).json
    assert created["params"]["since"].startswith("20")


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        ({"kind": "drop"}, "unknown_operation", None),
        ({"kind": "refill", "params": {"x": 1}}, "invalid_fields", "/params/x"),
        ({"kind": "rebuild-routing", "params": {"apply": "?"}}, "invalid_fields", "/params/apply"),
        ({"kind": "replay"}, "invalid_fields", "/params/mode"),
        ({"kind": "replay", "params": []}, "invalid_fields", "/params"),
        ({"params": {}}, "invalid_fields", "/kind"),
    ],
    ids=str,
)
async def test_what_nobody_could_carry_out_is_refused(
    api: Api, work: UnitOfWork, body: dict[str, Any], code: str, pointer: str | None
) -> None:
    problem = assert_problem(await api.post("/operations", body), 400, code)
    if pointer is not None:
        assert pointer in {error["pointer"] for error in problem["errors"]}
    assert await every(work, Operation) == []
    assert await events_of(work.database) == []


async def test_a_consumer_that_is_none_is_refused_with_those_that_are(api: Api) -> None:
    params = {"mode": "again", "consumer": "nobody-v1"}
    answer = await api.post("/operations", {"kind": "replay", "params": params})
    problem = assert_problem(answer, 400, "invalid_fields")
    assert "routing-v1" in problem["errors"][0]["message"]


async def test_operations_are_listed_newest_first_without_reports(api: Api) -> None:
    made = [(await api.post("/operations", {"kind": "refill"})).json["id"] for _ in range(3)]
    first = (await api.get("/operations", params={"limit": "2"})).json
    assert [each["id"] for each in first["items"]] == made[:0:-1]
    assert "report" not in first["items"][0]
    rest = (await api.get("/operations", params={"before": first["next"]})).json
    assert [each["id"] for each in rest["items"]] == made[:1]


async def test_an_operation_that_is_none_is_a_404(api: Api) -> None:
    unknown = "opr_00000000000000000000000000"
    assert_problem(await api.get(f"/operations/{unknown}"), 404, "not_found")
    assert_problem(await api.get("/operations/nonsense"), 400, "invalid_input")


async def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    answer = await api.get("/events", params={"limit": "500", **query})
    assert answer.status == 200, answer.body
    return list(answer.json["items"])


async def test_a_slice_of_the_log_by_type_subject_time_and_deployment(
    api: Api, work: UnitOfWork
) -> None:
    site, version, instance = await running_site(work, Conveyor(work))
    await add_site(work)
    everything = await listed(api)
    types = {each["type"] for each in await listed(api, type="deployment.*")}
    assert types == {f"deployment.{what}" for what in ("created", "deploying", "activated")}
    assert {each["subject"] for each in await listed(api, subject=instance.id)} == {instance.id}
    by_pattern = await listed(api, subject=f"zw.evt.*.*.*.{site.project.id}.{instance.id}")
    assert by_pattern == [
        each for each in await listed(api, subject=instance.id) if each["project_id"]
    ]
    second = everything[1]["time"]
    assert await listed(api, until=second) == everything[:1]
    assert await listed(api, since=second) == everything[1:]
    assert await listed(api, since="1h") == everything
    assert await listed(api, until="1h") == []
    chain = await listed(api, deployment=version.deployment.id)
    assert {"deployment.created", "build.requested", "instance.ready", "route.changed"} <= {
        each["type"] for each in chain
    }
    assert {each["project_id"] for each in chain} <= {site.project.id, None}


async def test_a_slice_that_cannot_be_is_refused(api: Api) -> None:
    unknown = "dep_00000000000000000000000000"
    assert_problem(await api.get("/events", params={"deployment": unknown}), 404, "not_found")
    for query in ({"since": "soon"}, {"type": "a%"}, {"subject": "zw.(x"}):
        assert_problem(await api.get("/events", params=query), 400, "invalid_fields")
