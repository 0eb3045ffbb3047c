from __future__ import annotations

from pathlib import Path

import pytest

from cli import platform_file
from cli.platform_file import Platform
from zeitwork.errors import InvalidSettings


def platform(data_dir: Path) -> Platform:
    return Platform(
        api_url="http://127.0.0.1:8080",
        proxy_url="http://127.0.0.1:8000",
        public_url="http://localhost:8000",
        api_token="token-of-the-api",
        webhook_secret="secret-of-the-webhook",
        data_dir=data_dir,
        ports={"api": 8080},
        ops_ports={"api": 9080},
        pid=1,
    )


def test_what_one_process_saves_another_loads(tmp_path: Path) -> None:
    platform_file.save(platform(tmp_path))
    assert platform_file.load(tmp_path) == platform(tmp_path)
    assert platform_file.path(tmp_path).stat().st_mode & 0o777 == 0o600


def test_nothing_runs_before_a_start_and_after_a_stop(tmp_path: Path) -> None:
    assert platform_file.load(tmp_path) is None
    platform_file.save(platform(tmp_path))
    platform_file.remove(tmp_path)
    platform_file.remove(tmp_path)
    assert platform_file.load(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"data_dir": 1}', '{"data_dir": "/x"}'])
def test_a_file_of_another_version_is_told(tmp_path: Path, text: str) -> None:
    path = platform_file.path(tmp_path)
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(InvalidSettings, match="restart `zeitwork up`"):
        platform_file.load(tmp_path)


def test_its_secrets_are_not_shown(tmp_path: Path) -> None:
    shown = repr(platform(tmp_path))
    assert "token-of-the-api" not in shown
    assert "secret-of-the-webhook" not in shown
