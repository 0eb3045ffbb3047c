"""Failpoints: each is reached somewhere, does what it says, and cannot be armed in production."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from zeitwork import failpoints
from zeitwork.config import load
from zeitwork.errors import InvalidSettings
from zeitwork.failpoints import Armed, Failpoint, parse

_ROOT = Path(__file__).parents[3]
_PRODUCT = ("zeitwork", "events", "db", "producers", "consumers", "proxy", "node", "cli")

# Reaches a point three times, and says how far it got.
_PROGRAM = """
from zeitwork import failpoints
from zeitwork.config import load
from zeitwork.failpoints import Failpoint
text = load().failpoint
failpoints.arm(failpoints.parse(text) if text else None)
for number in (1, 2, 3):
    failpoints.reach(Failpoint.WEBHOOK_STORED)
    failpoints.reach(Failpoint.RELAY_CLAIMED)
    print(number, flush=True)
"""


def program(failpoint: str | None) -> subprocess.Popen[bytes]:
    env = {} if failpoint is None else {"ZEITWORK_FAILPOINT": failpoint}
    return subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], cwd=_ROOT, env=env, stdout=subprocess.PIPE
    )


def test_every_point_is_reached_in_exactly_one_place() -> None:
    reached: Counter[str] = Counter()
    for package in _PRODUCT:
        for path in (_ROOT / package).rglob("*.py"):
            reached.update(re.findall(r"failpoints\.reach\(Failpoint\.(\w+)\)", path.read_text()))
    assert reached == dict.fromkeys(Failpoint.__members__, 1)


@pytest.mark.parametrize(
    ("failpoint", "code", "said"),
    [
        (None, 0, b"1\n2\n3\n"),
        ("node.reporting", 0, b"1\n2\n3\n"),
        ("relay.claimed", -signal.SIGKILL, b""),
        ("relay.claimed:3", -signal.SIGKILL, b"1\n2\n"),
        ("relay.claimed:4", 0, b"1\n2\n3\n"),
    ],
)
def test_a_process_ends_where_it_was_told_to(failpoint: str | None, code: int, said: bytes) -> None:
    with program(failpoint) as process:
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (code, said)


def test_a_stopped_process_goes_on_when_it_is_told_to_and_stops_once() -> None:
    import os

    with program("relay.claimed:2:stop") as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, b"1\n2\n3\n")


def test_what_is_armed_is_read_from_one_word() -> None:
    assert parse("build.stored") == Armed(Failpoint.BUILD_STORED, 1, signal.SIGKILL)
    assert parse("build.stored:2") == Armed(Failpoint.BUILD_STORED, 2, signal.SIGKILL)
    assert parse("build.stored:2:stop") == Armed(Failpoint.BUILD_STORED, 2, signal.SIGSTOP)


@pytest.mark.parametrize(
    "text", ["", "nowhere", "build.stored:0", "build.stored:x", "build.stored:1:pause", "build"]
)
def test_what_is_no_point_is_refused_and_the_points_are_named(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"webhook\.stored"):
        parse(text)


def test_production_refuses_a_failpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_FAILPOINT", "relay.published")
    assert load().failpoint == "relay.published"
    monkeypatch.setenv("ZEITWORK_ENVIRONMENT", "production")
    with pytest.raises(InvalidSettings, match="not for production"):
        load()


def test_a_wrong_failpoint_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_FAILPOINT", "relay.publishd")
    with pytest.raises(InvalidSettings, match=r"relay\.published"):
        load()


def test_an_unarmed_point_lets_pass() -> None:
    failpoints.arm(None)
    for point in Failpoint:
        failpoints.reach(point)
