"""Variables by API and CLI: what is stored, what is told, and what never is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete

from db.models import Deployment, DeploymentVariable
from db.queries.variables import (
    variables_by_key,
    variables_discard,
    variables_pinned,
    variables_repin,
)
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.states import DeploymentState
from events.variables import VariablePhase
from tests.support.api import Api, assert_problem, dependencies, serving
from tests.support.cli import Cli
from tests.support.database import execute
from tests.support.factories import Site, add_site, add_version, changed
from zeitwork import clock, sealing
from zeitwork.errors import SealBroken

SECRET = "correct horse battery staple"


@pytest.fixture
async def site(work: UnitOfWork) -> Site:
    return await add_site(work, "shop")


async def put(api: Api, *, project: str = "shop", **changes: Any) -> Any:
    answer = await api.post(
        f"/projects/{project}/variables", {"variables": {"TOKEN": SECRET}, **changes}
    )
    assert answer.status == 200, answer.body
    return answer.json


async def pinned(
    work: UnitOfWork, api: Api, deployment: Deployment, phase: VariablePhase = VariablePhase.RUN
) -> dict[str, str]:
    async with work.database.read() as session:
        return await variables_pinned(session, deployment.id, phase=phase, keys=api.deps.keys)


async def test_values_go_in_and_only_come_out_when_revealed(
    api: Api, work: UnitOfWork, site: Site, migrated_url: str
) -> None:
    told = await put(api)
    listed = await api.get("/projects/shop/variables")
    assert [each["name"] for each in listed.json["items"]] == ["TOKEN"]
    assert SECRET not in json.dumps(told) + listed.body.decode()
    answer = await api.post("/projects/shop/variables/TOKEN/reveal", {})
    assert answer.json == {"name": "TOKEN", "value": SECRET}
    assert answer.headers["Cache-Control"] == "no-store"
    events = execute(
        migrated_url,
        "SELECT type, payload::text FROM event_log WHERE type LIKE 'variable.%' ORDER BY id",
        tenant="*",
    )
    assert [kind for kind, _ in events] == ["variable.set", "variable.revealed"]


async def test_a_dump_of_the_database_holds_no_value(
    api: Api, work: UnitOfWork, site: Site, migrated_url: str
) -> None:
    await put(api)
    await add_version(work, site)
    await api.post("/projects/shop/variables/TOKEN/reveal", {})
    tables = execute(migrated_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    dump = "".join(
        str(execute(migrated_url, f"SELECT row_to_json(t)::text FROM {table} t", tenant="*"))
        for (table,) in tables
    )
    assert "TOKEN" in dump  # the dump is one
    for form in (SECRET, SECRET.encode().hex(), SECRET.replace(" ", "%20")):
        assert form not in dump


async def test_a_value_that_was_moved_to_another_project_does_not_open(
    api: Api, work: UnitOfWork, site: Site, migrated_url: str
) -> None:
    await put(api)
    other = await add_site(work, "thief", organisation_id=site.organisation_id)
    execute(
        migrated_url,
        "UPDATE variables SET project_id = (SELECT id FROM projects WHERE slug = 'thief')",
        tenant="*",
    )
    answer = await api.post("/projects/thief/variables/TOKEN/reveal", {})
    assert SECRET not in assert_problem(answer, 500, "seal_broken")["detail"]
    version = await add_version(work, other)
    with pytest.raises(SealBroken):
        await pinned(work, api, version.deployment)


async def test_of_one_name_the_narrowest_place_wins(api: Api, work: UnitOfWork, site: Site) -> None:
    await put(api, variables={"A": "project", "B": "project", "C": "project"})
    await put(api, variables={"B": "production"}, environment="production")
    await put(api, variables={"C": "preview"}, preview=True)
    await put(api, variables={"D": "at build"}, phase="build")
    version = await add_version(work, site)
    assert await pinned(work, api, version.deployment) == {
        "A": "project",
        "B": "production",
        "C": "project",
    }
    built = await pinned(work, api, version.deployment, VariablePhase.BUILD)
    assert built["D"] == "at build"


async def test_a_deployment_keeps_the_values_that_it_was_created_with(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    await put(api, variables={"A": "old", "GONE": "x"})
    before = (await add_version(work, site, 1)).deployment
    async with changed(work, Deployment, before.id) as deployment:
        deployment.state = DeploymentState.ACTIVE
    told = await put(api, variables={"A": "new"})
    assert [each["deployment_id"] for each in told["outdated"]] == [before.id]
    await api.call("DELETE", "/projects/shop/variables/GONE")
    async with work.transaction() as tx:
        await variables_discard(tx.session, clock.now())
    after = (await add_version(work, site, 2)).deployment
    assert await pinned(work, api, before) == {"A": "old", "GONE": "x"}
    assert await pinned(work, api, after) == {"A": "new"}
    back = (await add_version(work, site, 3)).deployment
    async with work.transaction() as tx:
        target = await tx.session.get_one(Deployment, back.id)
        await tx.session.execute(
            delete(DeploymentVariable).where(DeploymentVariable.deployment_id == target.id)
        )
        await variables_repin(tx.session, before, target)
    assert await pinned(work, api, back) == {"A": "old", "GONE": "x"}


async def test_replaced_values_that_nobody_has_are_forgotten(
    api: Api, work: UnitOfWork, site: Site, migrated_url: str
) -> None:
    await put(api)
    await put(api, variables={"TOKEN": "another"})
    async with work.transaction() as tx:
        await variables_discard(tx.session, clock.now())
    assert execute(migrated_url, "SELECT count(*) FROM variables", tenant="*") == [(1,)]


async def test_code_that_is_not_trusted_gets_nothing(
    api: Api, work: UnitOfWork, site: Site
) -> None:
    await put(api)
    version = await add_version(work, site, trusted=False)
    for phase in (VariablePhase.RUN, VariablePhase.BUILD):
        assert await pinned(work, api, version.deployment, phase) == {}


@pytest.mark.parametrize(
    "variables",
    [
        {"PORT": SECRET},
        {"ZEITWORK_API_TOKEN": SECRET},
        {"zeitwork_x": SECRET},
        {"1A": SECRET},
        {"A-B": SECRET},
        {"A\n": SECRET},
        {"": SECRET},
        {"A" * 129: SECRET},
        {"A": SECRET + "\0"},
        {"A": SECRET + "\ud800"},
        {"A": SECRET * 2000},
        {"A": 1},
        {},
        {f"A{number}": "x" for number in range(301)},
        {f"A{number}": "x" * 32_000 for number in range(9)},
    ],
    ids=range(15),
)
async def test_what_cannot_be_a_variable_is_refused_and_not_repeated(
    api: Api, site: Site, variables: dict[str, Any]
) -> None:
    said = {"OK": "1", **variables} if variables else {}
    answer = await api.post("/projects/shop/variables", {"variables": said})
    assert answer.status == 400
    assert SECRET not in answer.body.decode()
    assert (await api.get("/projects/shop/variables")).json["items"] == []


async def test_values_are_taken_as_they_are(api: Api, site: Site) -> None:
    value = "  spaces and\n\tlines \u00fc\U0001f600 \n"
    await put(api, variables={"A": value, "EMPTY": ""})
    answer = await api.post("/projects/shop/variables/A/reveal", {})
    assert answer.json["value"] == value


async def test_what_is_not_there_is_said_to_be_elsewhere(api: Api, site: Site) -> None:
    await put(api, environment="production")
    assert_problem(await api.call("DELETE", "/projects/shop/variables/TOKEN"), 404, "not_found")
    gone = await api.call("DELETE", "/projects/shop/variables/TOKEN?environment=production")
    assert gone.status == 200
    assert_problem(
        await api.post("/projects/shop/variables/TOKEN/reveal", {"environment": "none"}),
        404,
        "not_found",
    )


async def test_changes_at_the_same_time_leave_one_value(
    api: Api, site: Site, migrated_url: str
) -> None:
    await asyncio.gather(*(put(api, variables={"A": f"value {n}"}) for n in range(8)))
    current = "SELECT count(*) FROM variables WHERE replaced_at IS NULL"
    assert execute(migrated_url, current, tenant="*") == [(1,)]


async def test_keys_are_rotated_batch_by_batch_and_the_old_one_may_go(
    api: Api, work: UnitOfWork, bus: MemoryBus, site: Site, tmp_path: Path
) -> None:
    for start in (0, 120):
        names = {f"A{number}": f"value {number}" for number in range(start, start + 120)}
        await put(api, variables=names)
    old, new = api.deps.keys.ids[0], sealing.new_key()
    text = f"{new.text},{api.deps.settings.secret_keys.get_secret_value()}"
    async with serving(dependencies(work, bus, tmp_path, secret_keys=text)) as served:
        first = (await served.post("/secret-keys/rotate", {})).json
        assert (first["resealed"], first["remaining"]) == (200, 40)
        assert not any(each["droppable"] for each in first["items"])
        # Cut off here, everything opens with both keys on the ring.
        for name in ("A0", "A239"):
            revealed = await served.post(f"/projects/shop/variables/{name}/reveal", {})
            assert revealed.json["value"] == f"value {name[1:]}"
        done = await Cli.of(served)("secrets", "rotate", "--json")
    assert done.code == 0, done.err
    kept = {each["id"]: each["droppable"] for each in json.loads(done.out)["items"]}
    assert kept == {new.id: False, old: True}
    async with work.database.read() as session:
        assert await variables_by_key(session) == {new.id: 240}
    async with serving(dependencies(work, bus, tmp_path, secret_keys=new.text)) as served:
        revealed = await served.post("/projects/shop/variables/A17/reveal", {})
        assert revealed.json["value"] == "value 17"


async def test_without_the_key_a_value_is_not_lost_but_asked_for(
    api: Api, work: UnitOfWork, bus: MemoryBus, site: Site, tmp_path: Path
) -> None:
    await put(api)
    other = dependencies(work, bus, tmp_path, secret_keys=sealing.new_key().text)
    async with serving(other) as served:
        answer = await served.post("/projects/shop/variables/TOKEN/reveal", {})
        assert_problem(answer, 503, "seal_key_missing")
        keys = (await served.get("/secret-keys")).json["items"]
        assert [each["known"] for each in keys] == [True, False]
    async with serving(dependencies(work, bus, tmp_path, secret_keys="")) as served:
        answer = await served.post("/projects/shop/variables", {"variables": {"A": "1"}})
        assert_problem(answer, 503, "seal_key_missing")


async def test_the_command_line_sets_shows_and_deploys_again(
    api: Api, work: UnitOfWork, site: Site, tmp_path: Path
) -> None:
    cli = Cli.of(api)
    before = (await add_version(work, site)).deployment
    async with changed(work, Deployment, before.id) as deployment:
        deployment.state = DeploymentState.ACTIVE
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    done = await cli("env", "set", "shop", "TOKEN", "--file", str(file))
    assert done.code == 0, done.err
    assert "Deploy again" in done.err
    assert SECRET not in done.out + done.err
    revealed = await cli("env", "reveal", "shop", "TOKEN")
    assert revealed.out == SECRET
    dotenv = tmp_path / ".env"
    dotenv.write_text("A=1\nexport B='two'\n")
    done = await cli("env", "import", "shop", str(dotenv), "--phase", "run")
    assert done.code == 0, done.err
    listed = await cli("env", "list", "shop")
    assert all(name in listed.out for name in ("TOKEN", "A", "B"))
    done = await cli("env", "unset", "shop", "A", "--redeploy", "--json")
    assert done.code == 0, done.err
    (again,) = json.loads(done.out)["redeployed"]
    async with work.database.read() as session:
        deployment = await session.get_one(Deployment, again)
        assert deployment.commit_sha == before.commit_sha
        found = await variables_pinned(session, again, phase=VariablePhase.RUN, keys=api.deps.keys)
    assert found == {"TOKEN": SECRET, "B": "two"}
