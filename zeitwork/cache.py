"""A cache shared by processes: tables of versioned records. Correctness never depends on it.

Valkey or Redis holds it; it may be wiped or away at any time, and then only speed is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from pydantic import SecretStr
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from zeitwork.errors import CacheUnavailable

_TIMEOUT_SECONDS = 1.0
_CONNECTIONS = 10

# A record is its version, a colon, and its bytes. Late writers must not undo what newer ones wrote,
# so comparing and writing is one step on the server.
_PUT_NEWER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and tonumber(string.match(held, '^(%d+):')) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
return 1
"""

_REMOVE_OLDER = """
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held and tonumber(string.match(held, '^(%d+):')) <= tonumber(ARGV[2]) then
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""


class Cache(Protocol):
    """Tables of records; a record is replaced only by a newer version of itself."""

    async def put(self, table: str, key: str, *, version: int, value: bytes) -> bool:
        """Store a record unless the table has this version or a newer one; whether it did.

        Raises:
            CacheUnavailable: the outcome is unknown.
        """

    async def remove(self, table: str, key: str, *, version: int) -> None:
        """Forget a record of this version or an older one.

        Raises:
            CacheUnavailable: the outcome is unknown.
        """

    async def records(self, table: str) -> Mapping[str, bytes]:
        """All records of a table; none is an answer too.

        Raises:
            CacheUnavailable: the cache does not answer.
        """

    async def clear(self, table: str) -> None:
        """Forget a table.

        Raises:
            CacheUnavailable: the outcome is unknown.
        """


class RedisCache:
    """The driver for Valkey and Redis; a Service that is ready even while the server is away."""

    name = "cache"

    def __init__(self, url: SecretStr) -> None:
        pool = BlockingConnectionPool.from_url(
            url.get_secret_value(),
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT_SECONDS,
        )
        self._redis: Any = Redis.from_pool(pool)
        self._put_newer = self._redis.register_script(_PUT_NEWER)
        self._remove_older = self._redis.register_script(_REMOVE_OLDER)

    async def start(self) -> None:
        """Connections are made when they are needed."""

    async def ready(self) -> str | None:
        return None

    async def stop(self) -> None:
        await self._redis.aclose()

    async def put(self, table: str, key: str, *, version: int, value: bytes) -> bool:
        with _translated():
            return bool(await self._put_newer(keys=[_name(table)], args=[key, version, value]))

    async def remove(self, table: str, key: str, *, version: int) -> None:
        with _translated():
            await self._remove_older(keys=[_name(table)], args=[key, version])

    async def records(self, table: str) -> Mapping[str, bytes]:
        with _translated():
            held: Mapping[bytes, bytes] = await self._redis.hgetall(_name(table))
        return {key.decode(): value.partition(b":")[2] for key, value in held.items()}

    async def clear(self, table: str) -> None:
        with _translated():
            await self._redis.delete(_name(table))


class MemoryCache:
    """The driver for tests."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[str, tuple[int, bytes]]] = {}

    async def put(self, table: str, key: str, *, version: int, value: bytes) -> bool:
        records = self._tables.setdefault(table, {})
        if key in records and records[key][0] >= version:
            return False
        records[key] = (version, value)
        return True

    async def remove(self, table: str, key: str, *, version: int) -> None:
        records = self._tables.get(table, {})
        if key in records and records[key][0] <= version:
            del records[key]

    async def records(self, table: str) -> Mapping[str, bytes]:
        return {key: value for key, (_, value) in self._tables.get(table, {}).items()}

    async def clear(self, table: str) -> None:
        self._tables.pop(table, None)


def _name(table: str) -> str:
    return f"zeitwork:{table}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise CacheUnavailable(f"Valkey does not answer: {type(error).__name__}") from error
