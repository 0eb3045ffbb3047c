"""The kinds of operations: kind → runner; `events/operation_params.py` has their parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from consumers.operations.handler import Report, Runner
from consumers.operations.rebuild_routing import RoutingRebuilder
from consumers.operations.refill import Refiller
from consumers.operations.replay import Replayer, Table
from consumers.wiring import Wiring
from events.operation_params import Params, RebuildRoutingParams, RefillParams, ReplayParams

_AnyParams = TypeVar("_AnyParams", bound=Params)


def runners(wiring: Wiring, table: Table) -> Mapping[str, Runner]:
    """One runner a kind; `table` is that of all consumers, for replays to them."""
    rebuilder = RoutingRebuilder(
        wiring.work, cache=wiring.cache, drain_seconds=wiring.drain_seconds
    )
    return {
        "rebuild-routing": _typed(RebuildRoutingParams, rebuilder.run),
        "refill": _typed(RefillParams, Refiller(wiring.work.database, wiring.bus).run),
        "replay": _typed(ReplayParams, Replayer(wiring, table).run),
    }


def _typed(model: type[_AnyParams], run: Callable[[str, _AnyParams], Awaitable[Report]]) -> Runner:
    async def runner(operation_id: str, said: Mapping[str, Any]) -> Report:
        return await run(operation_id, model.model_validate(said))

    return runner
