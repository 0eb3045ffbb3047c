from __future__ import annotations
from pydantic import SecretStr
from db import migrate
async def test_a(empty_database_url):
    u = SecretStr(empty_database_url)
    await migrate.upgrade(u)
    print(await migrate.differences(u))
    print(await migrate.current(u), migrate.head())
    await migrate.downgrade(u, "base")
    await migrate.upgrade(u)
async def test_b(database):
    await database.probe()
