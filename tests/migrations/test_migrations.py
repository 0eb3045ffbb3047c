"""Migrations go up, down and up again, and leave what the models say."""

from __future__ import annotations

from pydantic import SecretStr

from db import migrate


async def test_up_down_up_equals_the_models(empty_database_url: str) -> None:
    url = SecretStr(empty_database_url)

    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()
    assert await migrate.differences(url) == []

    await migrate.downgrade(url, "base")
    assert await migrate.current(url) is None
    assert await migrate.differences(url) != []

    await migrate.upgrade(url)
    await migrate.upgrade(url)
    assert await migrate.current(url) == migrate.head()
    assert await migrate.differences(url) == []
