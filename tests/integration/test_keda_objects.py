"""deploy/keda by the schema of KEDA's own definition, from the npm package @kubernetes-models/keda.

What the schema leaves open, as a trigger's fields, tests/unit/test_deploy_scaling.py checks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

OBJECTS = Path(__file__).parents[2] / "deploy" / "keda" / "scaledobjects.yaml"
PACKAGE = "@kubernetes-models/keda@2.0.0"
NPM, NODE = shutil.which("npm"), shutil.which("node")
CHECK = """
import { ScaledObject } from "@kubernetes-models/keda/keda.sh/v1alpha1";
import { readFileSync } from "node:fs";
for (const each of JSON.parse(readFileSync(0))) new ScaledObject(each).validate();
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NPM is None or NODE is None, reason="needs Node.js with npm"),
]


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keda")
    (directory / "package.json").write_text("{}")
    done = _run([NPM, "install", "--no-audit", "--no-fund", PACKAGE], directory)
    assert done.returncode == 0, done.stderr
    return directory


def test_keda_takes_every_object(checker: Path) -> None:
    done = _check(checker, _objects())
    assert done.returncode == 0, done.stderr


def test_a_wrong_field_would_be_noticed(checker: Path) -> None:
    wrong = _objects()
    wrong[0]["spec"]["maxReplicaCount"] = "eight"

    done = _check(checker, wrong)

    assert done.returncode != 0
    assert "maxReplicaCount" in done.stderr


def _objects() -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(OBJECTS.read_text()) if each]


def _check(checker: Path, objects: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    return _run([NODE, "--input-type=module", "-e", CHECK], checker, said=json.dumps(objects))


def _run(
    argv: list[str | None], directory: Path, *, said: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [each for each in argv if each],
        cwd=directory,
        input=said,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
