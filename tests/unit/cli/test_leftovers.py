from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from cli.leftovers import Leftovers


@pytest.mark.parametrize("text", ["", "{", '[{"name": "api"}]', "[1]", '{"a": 1}'])
async def test_an_unreadable_list_does_not_keep_the_platform_from_starting(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "processes.json"
    path.write_text(text)
    assert await Leftovers(path).end() == []
    assert not path.exists()


async def test_a_stranger_with_a_number_from_the_list_is_left_alone(tmp_path: Path) -> None:
    ourselves = psutil.Process()
    path = tmp_path / "processes.json"
    item = {"name": "api", "pid": ourselves.pid, "signal": 9}
    path.write_text(json.dumps([{**item, "started": ourselves.create_time() - 60}]))
    assert await Leftovers(path).end() == []


async def test_a_process_that_is_gone_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "processes.json"
    path.write_text(json.dumps([{"name": "api", "pid": 2**22 + 1, "started": 1.0, "signal": 9}]))
    assert await Leftovers(path).end() == []
