"""README's first command, in a fresh clone and an environment of two variables."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.agents import processes_of
from tests.support.eventually import eventually
from tests.support.first_run import first_run
from tests.support.pushes import visit

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500), pytest.mark.xdist_group("platform")]


async def test_make_run_prints_a_url_that_answers_and_leaves_no_process(tmp_path: Path) -> None:
    env = {name: os.environ[name] for name in ("PATH", "HOME")}
    with first_run(tmp_path, env) as run:
        url = urlsplit(run.url())
        answer = visit(f"http://127.0.0.1:{url.port}", str(url.hostname))
        assert answer.status == 200, answer.body
        run.interrupt()
        assert len(run.family) > len(("make", "zeitwork", "nats", "postgres", "valkey"))

        def none_is_left() -> bool:
            left = [*run.left(), *(each.name() for each in processes_of(tmp_path))]
            assert left == []
            return True

        await eventually(none_is_left)
