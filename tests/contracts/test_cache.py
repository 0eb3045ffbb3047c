"""The cache drivers against their contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from tests.contracts.cache import CacheContract
from zeitwork.cache import Cache, MemoryCache, RedisCache
from zeitwork.errors import CacheUnavailable


class TestMemoryCache(CacheContract):
    """In process."""

    @pytest.fixture
    def cache(self) -> Cache:
        return MemoryCache()


class TestRedisCache(CacheContract):
    """On a real Valkey."""

    @pytest.fixture
    async def cache(self, cache_url: str) -> AsyncIterator[Cache]:
        cache = RedisCache(SecretStr(cache_url))
        for table in ("routes", "one", "two", "t"):
            await cache.clear(table)
        yield cache
        await cache.stop()


async def test_a_cache_that_is_away_says_so() -> None:
    cache = RedisCache(SecretStr("redis://127.0.0.1:1/0"))
    with pytest.raises(CacheUnavailable):
        await cache.records("routes")
    await cache.stop()
