"""zeitwork.toml as people write it, and what they are told when they get it wrong."""

from __future__ import annotations

import pytest

from consumers.builds.failures import InvalidZeitworkToml
from consumers.builds.project_file import ProjectFile, parse

WHOLE = """
builder = "command"
root = "apps/api"
site = "public"
build = "make"
release = "./migrate"
release_timeout_seconds = 900
health_path = "/up?full=1"
region = "eu-1"

[processes]
web = "./serve"
worker = "./work"

[env]
LOG_LEVEL = "info"

[scaling]
min = 1
max = 4
concurrency = 20

[[crons]]
name = "nightly"
schedule = "0  3 * * MON-FRI"
command = "./clean"
"""
CRON = """[[crons]]
name = "nightly"
schedule = "@daily"
command = "./clean"
"""


def refused(text: str) -> str:
    with pytest.raises(InvalidZeitworkToml) as caught:
        parse(text)
    return caught.value.message


def test_every_key_is_understood() -> None:
    file = parse(WHOLE)
    assert file.model_fields_set == set(ProjectFile.model_fields) - {"start"}
    assert file.commands == {"web": "./serve", "worker": "./work"}
    assert file.crons[0].schedule == "0 3 * * MON-FRI"
    assert parse('start = "x"').commands == {"web": "x"}


def test_an_empty_file_says_nothing() -> None:
    assert parse("# later\r\n") == ProjectFile()


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = ", 1, 5),
        ('builder = "node"\nstart = "x', 2, 11),
        ("start = [\n", 2, 1),
        ('builder = "node"\r\n\r\n  strat = "x"\r\n', 3, 3),
        ('[env]\nA = "1"\n\nB = 2\n', 4, 1),
        (CRON + CRON.replace("@daily", "61 * * * *"), 7, 1),
        ('[[crons]]\nname = "a"\n', 1, 1),
        ("[scaling]\nmin = 3\nmax = 1", 1, 1),
        ("build = '''\nstrat = 1\n'''\nstrat = 2", 4, 1),
        ('scaling = { min = "1" }', 1, 1),
        ("scaling.mni = 1", 1, 1),
        ('[processes]\n"a b" = "x"', 2, 1),
        ("x = " + "[" * 9000, 1, 1),
        ("x = " + "1" * 9000, 1, 9005),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_column(text: str, line: int, column: int) -> None:
    assert refused(text).startswith(f"zeitwork.toml, line {line}, column {column}: ")


def test_all_mistakes_are_told_at_once_in_their_order() -> None:
    first, second = refused('root = "../x"\nregoin = "eu"').split("; zeitwork.toml, ")
    assert "root: must be a path below" in first
    assert second == "line 2, column 1: regoin is not a key of zeitwork.toml; did you mean region?"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("start_command = 'x'", "did you mean start?"),
        ("health = '/'", "did you mean health_path?"),
        ("release_timeout = 5", "did you mean release_timeout_seconds?"),
        ("output = 'x'", "did you mean site?"),
        ("[scaling]\nmin_instances = 1", "did you mean min?"),
        ("[[crons]]\nname='a'\nschedule='@daily'\ncommand='x'\nshedule='x'", "mean schedule?"),
        ("zzz = 1", "known are build, builder, crons"),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_probably_meant(text: str, advice: str) -> None:
    assert advice in refused(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('builder = "pyton"', "'python', 'node', 'static', 'command' or 'dockerfile'"),
        ('start = ""', "at least 1 character"),
        ('start = "a\\u0000b"', "control characters"),
        ('start = "a"\nprocesses.web = "b"', "start and processes.web are the same thing"),
        ('root = "/etc"', "must be a path below"),
        ('root = "a\\nb"', "must be a path below"),
        ('site = "a/../.."', "must be a path below"),
        ('site = "{env.SECRET}"', "must be a path of letters"),
        ('site = "a b\\n}"', "must be a path of letters"),
        ('health_path = "up"', "starts with /"),
        ('health_path = "/ up"', "without blanks"),
        ("env.PORT = '1'", "given by the platform"),
        ("env.ZEITWORK_TOKEN = '1'", "given by the platform"),
        ("env.'A=B' = '1'", "a name of letters"),
        ('env.A = "\\u0000"', "control characters"),
        ("release_timeout_seconds = 3601", "less than or equal to 3600"),
        ("scaling.max = 101", "less than or equal to 100"),
        ("scaling.min = true", "valid integer"),
        ("scaling.min = 2\nscaling.max = 1", "min (2) is more than max (1)"),
        ("processes = []", "valid dictionary"),
        ("[[crons]]\nname='a'\nschedule='daily'\ncommand='x'", "needs five fields"),
        (
            "[[crons]]\nname='a'\nschedule='@daily'\ncommand='x'\n" * 2,
            "two crons are named 'a'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, complaint: str) -> None:
    assert complaint in refused(text)
