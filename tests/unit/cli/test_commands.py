"""Every command: its help, its options, and its place in docs/reference/cli.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App, UnknownOptionError

from cli.exits import Exit
from cli.main import app

_SECTION = re.compile(r"^### (.+)\n((?:(?!^##).*\n)*)", re.MULTILINE)
REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()


def _leaves(parent: App, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    for name in parent:
        if not name.startswith("-"):
            child = parent[name]
            if child.default_command is None:
                yield from _leaves(child, (*path, name))
            else:
                yield (*path, name), child


COMMANDS = dict(_leaves(app))
every_command = pytest.mark.parametrize("path", sorted(COMMANDS), ids=" ".join)


def _options(command: App) -> dict[str, str]:
    """Names and help of what the command shows."""
    return {
        name: argument.parameter.help or ""
        for argument in command.assemble_argument_collection()
        if argument.show
        for name in argument.names
    }


def test_the_commands_of_the_product_are_there() -> None:
    assert {
        ("up",),
        ("deploy",),
        ("doctor",),
        ("logs",),
        ("deployments", "list"),
        ("deployments", "show"),
        ("events", "tail"),
        ("projects", "create"),
        *(("serve", name) for name in ("api", "consumers", "proxy", "node")),
    } <= set(COMMANDS)


@every_command
def test_its_help_says_what_it_and_each_option_does(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert re.fullmatch(r"[A-Z].*\.", command.help, re.DOTALL)
    for name, said in _options(command).items():
        assert re.fullmatch(r"[A-Z].*\.", said), f"{name}: {said!r}"


@every_command
def test_it_prints_json_when_asked(path: tuple[str, ...]) -> None:
    if path[0] != "serve":  # whose output is its log
        assert "--json" in _options(COMMANDS[path])


@every_command
def test_an_unknown_option_is_refused(path: tuple[str, ...]) -> None:
    arguments = ["x"] * sum(name.isupper() for name in _options(COMMANDS[path]))
    with pytest.raises(UnknownOptionError):
        app.parse_args(
            [*path, *arguments, "--no-such-option"], exit_on_error=False, print_error=False
        )


@every_command
def test_the_reference_lists_it_with_its_options(path: tuple[str, ...]) -> None:
    section = next(
        (
            body
            for heading, body in re.findall(
                r"^### (.+)\n((?:(?!^##).*\n)*)", REFERENCE, re.MULTILINE
            )
            if re.search(rf"`zeitwork {' '.join(path)}\b", heading)
        ),
        None,
    )
    assert section is not None
    shared = {"--data", "--json"}
    for name in _options(COMMANDS[path]):
        assert name in shared or name.isupper() or name in section, name


def test_the_reference_lists_no_command_that_is_gone() -> None:
    found = re.findall(
        r"`zeitwork ((?:[a-z]+ ?)+)", "".join(re.findall("^###.*", REFERENCE, re.MULTILINE))
    )
    assert {tuple(each.split()) for each in found} == set(COMMANDS)


def test_the_reference_explains_every_exit_code() -> None:
    table = re.findall(r"^\| (\d+) \| `(\w+)` \| .+ \|$", REFERENCE, re.MULTILINE)
    assert table == [(str(int(code)), code.name) for code in Exit]
