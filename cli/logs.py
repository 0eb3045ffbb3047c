"""`zeitwork logs`: what a build printed and what instances print."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from cyclopts import Parameter

from cli import output
from cli.client import Client, connect
from cli.exits import Exit
from cli.options import Flag, Options
from cli.together import together
from zeitwork.errors import NotFound

_QUIET_SECONDS = 0.5


async def logs(
    target: Annotated[str, Parameter(help="A deployment's id, or a project's slug (its newest).")],
    /,
    *,
    build: Annotated[bool, Flag, Parameter(help="Only the build's output.")] = False,
    follow: Annotated[bool, Flag, Parameter(alias="-f", help="Keep printing.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Print the output of a deployment's build and instances."""
    async with connect(options) as client:
        deployment = await _find(client, target)
        for each in deployment["builds"]:
            await _build(client, each, follow=follow, options=options)
        if not build:
            deployment = await client.get(f"/deployments/{deployment['id']}")
            await _instances(client, deployment["instances"], follow=follow, options=options)
    return Exit.OK


async def _find(client: Client, target: str) -> dict[str, Any]:
    if target.startswith("dep_"):
        return await client.get(f"/deployments/{target}")
    newest = (await client.get("/deployments", project=target, limit=1))["items"]
    if not newest:
        raise NotFound(f"{target} has no deployment yet.")
    return await client.get(f"/deployments/{newest[0]['id']}")


async def _build(client: Client, build: dict[str, Any], *, follow: bool, options: Options) -> None:
    if not follow:
        for line in await client.pages(f"/builds/{build['id']}/logs", "after"):
            _print(line, "build", options)
        return
    async with client.events(f"/builds/{build['id']}/logs/stream") as events:
        async for event in events:
            if event.name == "end":
                return
            _print(event.data, "build", options)


async def _instances(
    client: Client, instances: list[dict[str, Any]], *, follow: bool, options: Options
) -> None:
    """What is there in the order in which it was printed: a release command's comes first."""
    release = [] if follow else [each for each in instances if each["kind"] == "release"]
    for each in release:
        await _instance(client, each["id"], follow=follow, options=options)
    await together(
        *(
            _instance(client, each["id"], follow=follow, options=options)
            for each in instances
            if each not in release
        )
    )


async def _instance(client: Client, instance_id: str, *, follow: bool, options: Options) -> None:
    async with client.events(f"/instances/{instance_id}/logs/stream") as events:
        while True:
            try:
                async with asyncio.timeout(None if follow else _QUIET_SECONDS):
                    event = await anext(events)
            except (TimeoutError, StopAsyncIteration):
                return
            for line in event.data["lines"]:
                _print(line, instance_id, options)


def _print(line: dict[str, Any], source: str, options: Options) -> None:
    if options.json:
        output.emit_json({"source": source, **line})
    else:
        output.line(line["line"])
