"""deploy/prometheus by Prometheus' own checker, which Debian has in the package prometheus.

deploy/keda has a checker of its own: test_keda_objects.py.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

RULES = Path(__file__).parents[2] / "deploy" / "prometheus"
PROMTOOL = shutil.which("promtool")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian: apt install prometheus)"),
]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *arguments], capture_output=True, text=True, timeout=50, check=False
    )


def test_prometheus_takes_the_rules() -> None:
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", str(RULES / "alerts.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_when_it_should_and_only_then() -> None:
    done = promtool("test", "rules", str(RULES / "alerts_test.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_threshold_would_be_noticed(tmp_path: Path) -> None:
    """The series are near enough to the limits for that."""
    shutil.copy(RULES / "alerts_test.yaml", tmp_path)
    text = (RULES / "alerts.yaml").read_text()
    for limit in ("> 30\n", "> 10000\n", "> 1000\n", "> 300\n", "> 1800\n", "> 0.05 "):
        assert text.count(limit) == 1
        raised = limit.replace("> ", "> 9")
        (tmp_path / "alerts.yaml").write_text(text.replace(limit, raised))
        done = promtool("test", "rules", str(tmp_path / "alerts_test.yaml"))
        assert done.returncode != 0, f"nothing notices {raised!r} in place of {limit!r}"
