"""How a start command becomes an argv and an environment."""

from __future__ import annotations

import pytest

from node.runtimes import start_command
from tests.contracts.runtime import instance_spec


@pytest.mark.parametrize(
    "command",
    [
        "python main.py",
        "gunicorn 'app:create()' --bind 0.0.0.0:$PORT",
        'node server.js --title "it\'s here"',
        "./bin/web",
        'python -c "print(1); print(2)"',
    ],
)
def test_a_single_program_replaces_the_shell(command: str) -> None:
    assert start_command.argv(command) == ["/bin/sh", "-c", f"exec {command}"]


@pytest.mark.parametrize(
    "command",
    [
        "python migrate.py && python main.py",
        "python main.py; true",
        "python main.py | tee log",
        "python main.py > log",
        "python main.py &",
        "(python main.py)",
        "cd web",
        "exec python main.py",
        "DEBUG=1 python main.py",
        "$PROGRAM",
        "`which python` main.py",
        "python main.py\nrm -r /",
        "echo 'unfinished",
        "",
        "   ",
    ],
)
def test_what_only_a_shell_understands_is_left_to_it(command: str) -> None:
    assert start_command.argv(command) == ["/bin/sh", "-c", command]


def test_the_application_chooses_its_host_but_not_its_port() -> None:
    spec = instance_spec(env={"HOST": "::1", "PORT": "80", "COLOUR": "red"})
    env = start_command.environment(spec, app="/app", port=20_001)
    assert (env["HOST"], env["PORT"], env["COLOUR"]) == ("::1", "20001", "red")


def test_without_a_choice_it_listens_on_the_loopback() -> None:
    assert start_command.environment(instance_spec(), app="/app", port=1)["HOST"] == "127.0.0.1"


def test_its_own_programs_come_before_the_systems() -> None:
    spec = instance_spec(path=(".venv/bin", "node_modules/.bin"))
    env = start_command.environment(spec, app="/srv/app", port=1, path=["/tools"])
    path = env["PATH"].split(":")
    assert path[:2] == ["/srv/app/.venv/bin", "/srv/app/node_modules/.bin"]
    assert path.index("/tools") < path.index("/usr/bin")


def test_an_application_may_choose_its_path_by_itself() -> None:
    spec = instance_spec(env={"PATH": "/mine"}, path=(".venv/bin",))
    assert start_command.environment(spec, app="/app", port=1)["PATH"] == "/mine"
