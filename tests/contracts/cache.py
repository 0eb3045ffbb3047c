"""What every cache driver must do."""

from __future__ import annotations

import asyncio

from zeitwork.cache import Cache


class CacheContract:
    """Subclasses give a `cache` fixture with an empty cache."""

    async def test_an_empty_table_has_no_records(self, cache: Cache) -> None:
        assert await cache.records("routes") == {}

    async def test_a_record_is_found_again(self, cache: Cache) -> None:
        assert await cache.put("routes", "a", version=1, value=b"x:y\n\x00")
        assert await cache.records("routes") == {"a": b"x:y\n\x00"}

    async def test_only_a_newer_version_replaces_a_record(self, cache: Cache) -> None:
        assert await cache.put("routes", "a", version=9, value=b"nine")
        assert not await cache.put("routes", "a", version=9, value=b"again")
        assert not await cache.put("routes", "a", version=8, value=b"older")
        assert await cache.put("routes", "a", version=10, value=b"ten")
        assert await cache.records("routes") == {"a": b"ten"}

    async def test_a_record_is_removed_unless_it_is_newer(self, cache: Cache) -> None:
        await cache.put("routes", "a", version=1_800_000_000_001, value=b"x")
        await cache.remove("routes", "a", version=1_800_000_000_000)
        assert await cache.records("routes") == {"a": b"x"}
        await cache.remove("routes", "a", version=1_800_000_000_001)
        await cache.remove("routes", "a", version=1_800_000_000_002)
        assert await cache.records("routes") == {}

    async def test_concurrent_writers_leave_the_newest(self, cache: Cache) -> None:
        versions = [*range(1, 30, 2), *range(30, 0, -2)]
        await asyncio.gather(
            *(cache.put("t", "a", version=each, value=str(each).encode()) for each in versions)
        )
        assert await cache.records("t") == {"a": b"30"}

    async def test_tables_are_apart_and_can_be_cleared(self, cache: Cache) -> None:
        await cache.put("one", "a", version=1, value=b"1")
        await cache.put("two", "a", version=1, value=b"2")
        await cache.clear("one")
        assert await cache.records("one") == {}
        assert await cache.records("two") == {"a": b"2"}
