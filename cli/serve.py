"""`zeitwork serve …`: one process of the platform in the foreground."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Annotated

from cyclopts import App, Parameter

from zeitwork import config, failpoints, logs, tracing
from zeitwork.config import Settings
from zeitwork.errors import InvalidInput

# Objects made and not yet freed. Calls in flight have thousands that die without the collector; at
# its default of 700 it looked at them again and again.
_YOUNG_OBJECTS = 10_000

app = App(name="serve", help="Run one process of the platform in the foreground.")


@app.command
def api() -> int:
    """Serve the REST API and the webhooks; relay events to NATS."""
    import uvloop

    from producers.app import run

    return uvloop.run(run(_prepare("api")))


@app.command
async def consumers(
    *,
    only: Annotated[
        tuple[str, ...],
        Parameter(help="Groups, separated by commas; repeatable.", negative="", show_default=False),
    ] = (),
) -> int:
    """Handle events: builds, deployments, scheduling, routing. Scale by replicas."""
    from consumers.app import run
    from consumers.registry import GROUPS

    return await run(_prepare("consumers"), chosen(only, GROUPS) if only else GROUPS)


@app.command
def proxy() -> int:
    """Carry visitors' requests to instances."""
    import uvloop

    from proxy.app import run

    return uvloop.run(run(_prepare("proxy")))


@app.command
async def node() -> int:
    """Run instances on this machine."""
    from node.app import run

    return await run(_prepare("node"))


def chosen(only: Sequence[str], groups: Sequence[str]) -> tuple[str, ...]:
    """The named groups, each once, in the order of `groups`.

    Raises:
        InvalidInput: one is not there, or none is named.
    """
    named = {group.strip() for text in only for group in text.split(",")}
    unknown = sorted(named - set(groups))
    if unknown:
        raise InvalidInput(
            f"There is no group {', '.join(each or repr(each) for each in unknown)}; "
            f"groups are {', '.join(groups)}."
        )
    return tuple(group for group in groups if group in named)


def _prepare(service: str) -> Settings:
    settings = config.load()
    logs.configure(service=service, level=settings.log_level, fmt=settings.log_format)
    failpoints.arm(failpoints.parse(settings.failpoint) if settings.failpoint else None)
    tracing.configure(service=service, endpoint=config.environment("OTEL_EXPORTER_OTLP_ENDPOINT"))
    _spare_the_collector()
    return settings


def _spare_the_collector() -> None:
    """Let it pass over what is imported by now, which stays until the end.

    It walked through all of that again and again under load, and held up every caller for 0.1 s
    each time (docs/benchmarks.md).
    """
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
