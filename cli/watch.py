"""What happens on a platform, a line an event, for whoever runs `zeitwork up`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from typing_extensions import override

from cli.client import ApiProblem, Client
from cli.platform_file import Platform
from zeitwork import clock, logs, outbound
from zeitwork.errors import ZeitworkError
from zeitwork.service import Worker

_log = logs.get(__name__)
_PAUSE_SECONDS = 1.0
_SHORT_SHA = 8
_MOST_NAMES = 1000


class Watcher(Worker):
    """Follows the event stream and hands each telling line to `show`; survives API restarts."""

    name = "watcher"

    def __init__(self, platform: Platform, show: Callable[[str], None]) -> None:
        super().__init__()
        self._platform = platform
        self._show = show
        self._names: dict[str, str] = {}

    @override
    async def run(self) -> None:
        while True:
            try:
                async with outbound.session(token=self._platform.api_token) as session:
                    await self._follow(Client(session, self._platform.api_url))
            except (ZeitworkError, ApiProblem, outbound.ClientError) as error:
                _log.debug("event stream interrupted", detail=str(error))
            await clock.sleep(_PAUSE_SECONDS)

    async def _follow(self, client: Client) -> None:
        async with client.events("/events/stream") as events:
            async for event in events:
                said = sentence(event.data, await self._project(client, event.data))
                if said is not None:
                    moment = datetime.fromisoformat(event.data["time"]).astimezone()
                    self._show(f"{moment:%H:%M:%S}  {said}")

    async def _project(self, client: Client, event: Mapping[str, Any]) -> str:
        """The slug of the event's project, asked once."""
        project_id = event["project_id"]
        if project_id is None:
            return ""
        if project_id not in self._names:
            if len(self._names) >= _MOST_NAMES:
                self._names.clear()
            self._names[project_id] = (await client.get(f"/projects/{project_id}"))["slug"]
        return self._names[project_id]


def sentence(event: Mapping[str, Any], project: str) -> str | None:
    """What an event means to somebody who watches; None for what only the machinery needs."""
    data, type_ = event["data"], event["type"]
    match type_:
        case "push.received":
            branch = data["ref"].removeprefix("refs/heads/")
            commit = data["after"][:_SHORT_SHA]
            return f"push to {data['github_repo']} {branch} {commit} by {data['pusher']}"
        case "build.succeeded":
            return f"{project}: built in {data['seconds']:.2f} s"
        case "build.failed" | "deployment.failed" | "instance.failed":
            what = type_.replace(".", " ")
            detail = str(data["detail"]).split("\n", 1)[0]
            return f"{project}: {what} ({data['code']}): {detail}"
        case "route.changed":
            targets = len(data["route"]["targets"])
            answer = f"{targets} ready" if targets else "none ready, visitors get 503"
            return f"{project}: {data['route']['host']} → {answer}"
        case "node.ready" | "node.suspect" | "node.lost":
            return f"{type_.replace('.', ' ')} ({data['node_id']})"
        case _:
            pass
    if type_.startswith("deployment."):
        return f"{project}: deployment #{data['number']} {type_.removeprefix('deployment.')}"
    if type_ in {"build.started", "instance.ready", "instance.lost", "instance.stopped"}:
        return f"{project}: {type_.replace('.', ' ')}"
    return None
