"""`zeitwork logs`: what a build printed and what instances print."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Annotated, Any

from cyclopts import Parameter

from cli import output
from cli.client import Client, connect
from cli.common import Common
from cli.exits import Exit
from zeitwork.errors import NotFound

_QUIET_SECONDS = 0.5


async def logs(
    target: str,
    *,
    build: Annotated[bool, Parameter(negative="", help="Only the build's output.")] = False,
    follow: Annotated[bool, Parameter(alias="-f", negative="", help="Keep printing.")] = False,
    common: Common = Common(),  # noqa: B008 - frozen
) -> int:
    """Print the output of a deployment's build and instances.

    Args:
        target: A deployment's id, or a project's slug (its newest deployment).
    """
    async with connect(common.data) as client:
        deployment = await _find(client, target)
        for each in deployment["builds"]:
            await _build(client, each, follow=follow, common=common)
        if not build:
            deployment = await client.get(f"/deployments/{deployment['id']}")
            await _instances(client, deployment["instances"], follow=follow, common=common)
    return Exit.OK


async def _find(client: Client, target: str) -> dict[str, Any]:
    if target.startswith("dep_"):
        return await client.get(f"/deployments/{target}")
    newest = (await client.get("/deployments", project=target, limit=1))["items"]
    if not newest:
        raise NotFound(f"{target} has no deployment yet.")
    return await client.get(f"/deployments/{newest[0]['id']}")


async def _build(client: Client, build: dict[str, Any], *, follow: bool, common: Common) -> None:
    if not follow:
        for line in await client.pages(f"/builds/{build['id']}/logs", "after"):
            _print(line, "build", common)
        return
    async with client.events(f"/builds/{build['id']}/logs/stream") as events:
        async for event in events:
            if event.name == "end":
                return
            _print(event.data, "build", common)


async def _instances(
    client: Client, instances: list[dict[str, Any]], *, follow: bool, common: Common
) -> None:
    async with AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        for instance in instances:
            group.create_task(_instance(client, instance["id"], follow=follow, common=common))


async def _instance(client: Client, instance_id: str, *, follow: bool, common: Common) -> None:
    async with client.events(f"/instances/{instance_id}/logs/stream") as events:
        while True:
            try:
                async with asyncio.timeout(None if follow else _QUIET_SECONDS):
                    event = await anext(events)
            except (TimeoutError, StopAsyncIteration):
                return
            for line in event.data["lines"]:
                _print(line, instance_id, common)


def _print(line: dict[str, Any], source: str, common: Common) -> None:
    if common.json:
        output.emit_json({"source": source, **line})
    else:
        output.out.print(line["line"], markup=False)
