"""The fake GitHub on a real socket, and the shipped client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.fake_github.server import FakeGitHub
from tests.support.api import WEBHOOK_SECRET
from zeitwork.config import GitHubSettings
from zeitwork.github.app import GitHubApp, configured


def settings_for(github: FakeGitHub, directory: Path) -> GitHubSettings:
    """The settings of the App, its key in a file as an operator has it."""
    key = directory / "app.pem"
    key.write_bytes(github.private_key)
    return GitHubSettings(
        app_id=github.app_id, private_key_file=key, api_url=github.url, web_url=github.url
    )


@pytest.fixture
async def github() -> AsyncIterator[FakeGitHub]:
    fake = FakeGitHub(secret=WEBHOOK_SECRET)
    await fake.start()
    yield fake
    await fake.stop()


@pytest.fixture
async def github_app(github: FakeGitHub, tmp_path: Path) -> AsyncIterator[GitHubApp]:
    app = configured(settings_for(github, tmp_path))
    assert app is not None
    await app.start()
    yield app
    await app.stop()
