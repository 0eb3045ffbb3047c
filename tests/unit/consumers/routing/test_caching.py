"""A changed route goes into the shared cache whole, under its host and version."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from consumers.outcomes import Done
from consumers.routing.caching import copy_to
from events.envelope import wrap
from events.routes import CACHE_TABLE, Route, RouteChanged, RouteRemoved, Target
from zeitwork.errors import CacheUnavailable


class Shelf:
    """A cache of one table, which may be away."""

    def __init__(self, *, away: bool = False) -> None:
        self.held: dict[str, tuple[int, bytes]] = {}
        self._away = away

    async def put(self, table: str, key: str, *, version: int, value: bytes) -> bool:
        assert table == CACHE_TABLE
        if self._away:
            raise CacheUnavailable("away")
        newer = key not in self.held or self.held[key][0] < version
        if newer:
            self.held[key] = (version, value)
        return newer

    async def remove(self, table: str, key: str, *, version: int) -> None:
        assert table == CACHE_TABLE
        if key in self.held and self.held[key][0] <= version:
            del self.held[key]

    async def records(self, _table: str) -> Mapping[str, bytes]:
        return {key: value for key, (_, value) in self.held.items()}

    async def clear(self, _table: str) -> None:
        self.held.clear()


def route(version: int) -> Route:
    target = Target(instance_id="ins_1", host="10.0.0.1", port=4000 + version)
    return Route(
        host="shop.test",
        version=version,
        project_id="prj_1",
        deployment_id="dep_1",
        targets=(target,),
    )


async def copy(shelf: Shelf, *versions: int) -> None:
    for version in versions:
        said = RouteChanged(environment_id="env_1", route=route(version))
        assert await copy_to(shelf)(wrap(said, subject="env_1", source="test")) == Done()


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 3, 1, 2)])
async def test_the_newest_version_stands_in_any_order(order: tuple[int, ...]) -> None:
    shelf = Shelf()
    await copy(shelf, *order)
    records = await shelf.records(CACHE_TABLE)
    assert {host: Route.model_validate_json(raw) for host, raw in records.items()} == {
        "shop.test": route(3)
    }


async def test_a_removed_host_is_gone_unless_it_has_come_again() -> None:
    shelf = Shelf()
    await copy(shelf, 3)
    for version, left in ((2, 1), (4, 0)):
        said = RouteRemoved(environment_id="env_1", host="shop.test", version=version)
        assert await copy_to(shelf)(wrap(said, subject="env_1", source="test")) == Done()
        assert len(await shelf.records(CACHE_TABLE)) == left


async def test_a_cache_that_is_away_fails_the_attempt() -> None:
    with pytest.raises(CacheUnavailable):
        await copy(Shelf(away=True), 1)
