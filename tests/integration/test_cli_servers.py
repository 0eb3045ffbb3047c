"""The commands that work on the servers themselves."""

from __future__ import annotations

import json

from cli.exits import Exit
from db import migrate
from events.nats_bus import NatsBus
from tests.support.cli import Cli, problem
from tests.support.database import execute
from tests.support.servers import free_port


async def test_the_schema_goes_up_is_checked_and_goes_down(empty_database_url: str) -> None:
    cli = Cli({"ZEITWORK_DATABASE_URL": empty_database_url})
    for _ in range(2):
        upgraded = await cli("database", "upgrade", "--json")
        assert upgraded.code == Exit.OK, upgraded.err
        assert upgraded.json == {"revision": migrate.head()}
    assert (await cli("database", "check", "--json")).json == {"differences": []}

    execute(empty_database_url, "ALTER TABLE projects DROP COLUMN health_path")
    checked = await cli("database", "check", "--json")
    assert checked.code == Exit.UNEXPECTED
    assert "health_path" in "".join(checked.json["differences"])
    plain = await cli("database", "check")
    assert (plain.code, "health_path" in plain.out) == (Exit.UNEXPECTED, True)


async def test_an_empty_database_has_no_revision(empty_database_url: str) -> None:
    cli = Cli({"ZEITWORK_DATABASE_URL": empty_database_url})
    assert (await cli("database", "upgrade")).code == Exit.OK
    assert (await cli("database", "downgrade", "base", "--json")).json == {"revision": None}
    assert execute(empty_database_url, "SELECT to_regclass('projects')") == [(None,)]


async def test_streams_are_made_once(nats_url: str) -> None:
    cli = Cli({"ZEITWORK_NATS_URL": nats_url})
    assert (await cli("events", "topology", "apply", "--json")).code == Exit.OK
    for command in ("apply", "plan", "check"):
        again = await cli("events", "topology", command, "--json")
        assert (again.code, again.json) == (Exit.OK, [])


async def test_drift_is_shown_found_and_healed_but_nothing_is_thrown_away(
    own_nats_url: str,
) -> None:
    cli = Cli({"ZEITWORK_NATS_URL": own_nats_url})
    assert (await cli("events", "topology", "apply")).code == Exit.OK
    bus = NatsBus(own_nats_url, name="drift")
    await bus.start()
    logs = (await bus.jetstream.stream_info("ZW_LOGS")).config
    await bus.jetstream.update_stream(logs.evolve(max_msgs_per_subject=3, description="mine"))
    dlq = (await bus.jetstream.stream_info("ZW_DLQ")).config
    await bus.jetstream.update_stream(dlq.evolve(max_age=90 * 86400))
    await bus.stop()

    check = await cli("events", "topology", "check")
    assert check.code == Exit.UNEXPECTED
    assert "max_msgs_per_subject 3 → 5000" in check.out
    assert "throws messages away" in check.out
    refused = await cli("events", "topology", "apply", "--json")
    assert (refused.code, problem(refused)["code"]) == (Exit.CONFLICT, "topology_refused")
    assert (await cli("events", "topology", "apply", "--force")).code == Exit.OK
    assert (await cli("events", "topology", "check")).code == Exit.OK


async def test_a_database_that_is_away_is_unavailable_and_its_secret_stays_secret() -> None:
    url = f"postgresql://zeitwork:secret-word@127.0.0.1:{free_port()}/zeitwork"
    for command in ("upgrade", "check"):
        done = await Cli({"ZEITWORK_DATABASE_URL": url})("database", command, "--json")
        assert (done.code, problem(done)["code"]) == (Exit.UNAVAILABLE, "database_unavailable")
        assert "secret-word" not in done.err


async def test_a_database_of_another_kind_is_refused() -> None:
    done = await Cli({"ZEITWORK_DATABASE_URL": "mysql://u:secret-word@h/d"})("database", "upgrade")
    assert done.code == Exit.USAGE
    assert "secret-word" not in done.err


async def test_the_doctor_reports_in_one_document() -> None:
    done = await Cli({})("doctor", "--json", "--data", "/nonexistent")
    findings = {each["name"]: each for each in json.loads(done.out)}
    assert {"python", "servers", "git", "sandbox", "disk", "platform"} <= set(findings)
    assert findings["platform"]["ok"] is False
    assert "zeitwork up" in findings["platform"]["advice"]
    needed = [each for each in findings.values() if each["required"] and not each["ok"]]
    assert done.code == (Exit.UNEXPECTED if needed else Exit.OK)
