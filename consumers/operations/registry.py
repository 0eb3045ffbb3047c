"""The kinds of operations: kind → runner; `events/operation_params.py` has their parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from consumers.operations.handler import Report, Runner
from consumers.operations.refill import Refiller
from consumers.operations.replay import Replayer, Table
from consumers.wiring import Wiring
from events.operation_params import Params, RebuildRoutingParams, RefillParams, ReplayParams

_AnyParams = TypeVar("_AnyParams", bound=Params)
Run: TypeAlias = Callable[[str, _AnyParams], Awaitable[Report]]


def runners(
    wiring: Wiring, table: Table, *, rebuild_routing: Run[RebuildRoutingParams]
) -> Mapping[str, Runner]:
    """One runner a kind.

    Args:
        table: the bindings of all consumers, for replays to them.
        rebuild_routing: the routing group's own.
    """
    return {
        "rebuild-routing": _typed(RebuildRoutingParams, rebuild_routing),
        "refill": _typed(RefillParams, Refiller(wiring.work.database, wiring.bus).run),
        "replay": _typed(ReplayParams, Replayer(wiring, table).run),
    }


def _typed(model: type[_AnyParams], run: Run[_AnyParams]) -> Runner:
    async def runner(operation_id: str, said: Mapping[str, Any]) -> Report:
        return await run(operation_id, model.model_validate(said))

    return runner
