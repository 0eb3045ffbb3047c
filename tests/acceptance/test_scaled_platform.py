"""`zeitwork up --scale`: replicas in processes of their own, which work, are kept, and end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.eventually import eventually
from tests.support.platform import PlatformProcess, running

pytestmark = [pytest.mark.timeout(240), pytest.mark.xdist_group("platform")]

REPLICAS = {"consumers-builds-1", "consumers-builds-2"}


def builders(process: PlatformProcess) -> set[int]:
    """The processes that run builds only."""
    found = set()
    for child in psutil.Process(process.process.pid).children(recursive=True):
        try:
            arguments = child.cmdline()
        except psutil.NoSuchProcess:
            continue
        if arguments[-4:] == ["serve", "consumers", "--only", "builds"] and "-m" in arguments:
            found.add(child.pid)
    return found


def pullers(process: PlatformProcess) -> int:
    durables = process.run("queues", "--json").json["durables"]
    (found,) = [each for each in durables if each["name"] == "build-production-v1"]
    return int(found["idle_pulls"])


async def test_a_scaled_group_works_survives_and_ends_clean(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, "--scale", "builds=2", "--example") as process:
        assert process.facts["example_url"], "a replica built it"
        assert set(process.facts["ops_ports"]) > REPLICAS
        assert len(set(process.facts["ops_ports"].values())) == 6
        assert {path.stem for path in (data / "logs").iterdir()} > REPLICAS
        before = builders(process)
        assert before

        os.kill(max(before), signal.SIGKILL)
        await eventually(lambda: builders(process) - before, timeout=30)
        doctor = await eventually(lambda: healthy(process), timeout=60)
        assert "running" in doctor
        await eventually(lambda: pullers(process) >= 4, timeout=60, interval=1)

        assert process.stop() == 0
        assert process.left_behind() == []


def healthy(process: PlatformProcess) -> str:
    done = process.run("doctor", "--json")
    (found,) = [each for each in done.json if each["name"] == "platform"]
    return str(found["detail"]) if found["ok"] else ""
