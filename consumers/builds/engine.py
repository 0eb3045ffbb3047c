"""A Docker Engine by its HTTP API: build an image from a context, save it, remove it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from consumers.builds.failures import ArtifactTooLarge, DockerfileInvalid
from zeitwork import outbound
from zeitwork.errors import Unavailable

SETTING = "ZEITWORK_CONSUMERS__DOCKER_ENGINE"
# Every Engine since 20.10 has it, and so have those that speak Docker's language.
_API = "v1.40"
_LABEL = "zeitwork.build"
_KEPT_HOURS = 30 * 24
_ASK_SECONDS = 30.0
_MOST_RECORD_BYTES = 1024 * 1024
_MOST_LINE_CHARACTERS = 16 * 1024
_CHUNK_BYTES = 256 * 1024
_PERIOD_MICROSECONDS = 100_000
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404
_ENDED = re.compile(
    r"The command '(?P<command>.*)' returned a non-zero code: (?P<code>\d+)", re.DOTALL
)
_STEP = re.compile(r"Step \d+/\d+ : (?P<instruction>\w+)")

OnLine = Callable[[str], Awaitable[None] | None]


class EngineUnavailable(Unavailable):
    """The Docker Engine does not answer."""

    code = "docker_engine_unavailable"


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Which Engine, and what its builds may use.

    Attributes:
        address: `unix:///path/to/socket` or `tcp://host:port`.
        network: of the commands of a build: bridge, none or host.
    """

    address: str
    network: str = "bridge"
    cpus: float = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """What to build.

    Attributes:
        context: a tar archive, with a Dockerfile in it.
        tag: what the image is called, and from which image alone layers are taken over.
        arguments: for the `ARG`s of the Dockerfile; they stay readable in the image.
    """

    context: Path
    tag: str
    memory_mib: int
    arguments: Mapping[str, str]


class StepFailed(Exception):
    """A step of a build failed, as the Engine tells it.

    Attributes:
        instruction: of the step: "RUN", "FROM" and so on.
        command: what a RUN ran.
        returncode: how it ended; None when it was not a program that failed.
    """

    def __init__(self, said: str, *, instruction: str) -> None:
        super().__init__(said)
        self.said = said
        self.instruction = instruction
        ended = _ENDED.search(said)
        self.command = ended["command"] if ended else ""
        self.returncode = int(ended["code"]) if ended else None


class Engine:
    """One Engine; builds of several callers may run at once."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        parts = urlsplit(settings.address)
        self._socket = Path(parts.path) if parts.scheme == "unix" else None
        self._base = "http://docker" if parts.scheme == "unix" else f"http://{parts.netloc}"

    async def version(self) -> str:
        """Of the Engine.

        Raises:
            EngineUnavailable: it does not answer.
        """
        async with self._asking("GET", "/version", total=_ASK_SECONDS) as answer:
            await _require(answer)
            return str((await answer.json())["Version"])

    async def build(self, order: Order, on_line: OnLine) -> str:
        """The new image's id; a cancellation ends what runs for it.

        Raises:
            StepFailed: a step of the Dockerfile did.
            DockerfileInvalid: the Engine does not understand it.
            EngineUnavailable: it does not answer, or stopped to.
        """
        quota = int(self._settings.cpus * _PERIOD_MICROSECONDS)
        memory = order.memory_mib * 1024**2
        parameters = {
            "t": order.tag,
            "rm": "1",
            "forcerm": "1",
            "memory": str(memory),
            "memswap": str(memory),
            "cpuperiod": str(_PERIOD_MICROSECONDS),
            "cpuquota": str(quota),
            "networkmode": self._settings.network,
            "cachefrom": json.dumps([order.tag]),
            "labels": json.dumps({_LABEL: "1"}),
            "buildargs": json.dumps(dict(order.arguments)),
        }
        with order.context.open("rb") as context:
            async with self._asking(
                "POST",
                "/build",
                params=parameters,
                data=context,
                headers={"Content-Type": "application/x-tar"},
            ) as answer:
                await _require(answer)
                return await _follow(answer, on_line)

    async def save(self, image: str, target: Path, *, most_bytes: int) -> None:
        """Write the image's archive to the file `target`.

        Raises:
            ArtifactTooLarge: it has more than `most_bytes`.
            EngineUnavailable: the Engine does not answer.
        """
        size = 0
        async with self._asking("GET", f"/images/{image}/get") as answer:
            await _require(answer)
            with target.open("wb") as file:
                async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                    size += len(chunk)
                    if size > most_bytes:
                        raise ArtifactTooLarge(
                            f"The image is larger than {most_bytes >> 20} MiB. Take a smaller base "
                            "image, or copy less into the last stage."
                        )
                    await asyncio.to_thread(file.write, chunk)

    async def find(self, name: str) -> str | None:
        """The id of the image of that name."""
        async with self._asking("GET", f"/images/{name}/json", total=_ASK_SECONDS) as answer:
            if answer.status == _NOT_FOUND:
                return None
            await _require(answer)
            return str((await answer.json())["Id"])

    async def remove(self, image: str) -> None:
        """Remove an image with the layers that no other needs; one that is in use stays."""
        async with self._asking("DELETE", f"/images/{image}", total=_ASK_SECONDS) as answer:
            if answer.status not in {_NOT_FOUND, 409}:
                await _require(answer)

    async def prune(self) -> None:
        """Remove the images of builds that nothing was built on for a month."""
        filters = {"dangling": ["false"], "label": [_LABEL], "until": [f"{_KEPT_HOURS}h"]}
        asked = {"filters": json.dumps(filters)}
        async with self._asking(
            "POST", "/images/prune", params=asked, total=_ASK_SECONDS
        ) as answer:
            await _require(answer)

    @asynccontextmanager
    async def _asking(
        self, method: str, path: str, *, total: float | None = None, **options: Any
    ) -> AsyncIterator[outbound.Response]:
        try:
            async with (
                outbound.session(total=total, unix_socket=self._socket) as session,
                session.request(method, f"{self._base}/{_API}{path}", **options) as answer,
            ):
                yield answer
        except (outbound.ClientError, OSError) as error:
            raise EngineUnavailable(
                f"The Docker Engine at {self._settings.address} does not answer: {error}. Start "
                f"it, or unset {SETTING}."
            ) from error


async def _require(answer: outbound.Response) -> None:
    if answer.status == _OK:
        return
    said = (await answer.text())[:2000]
    # What are not the Engine's own words is shown as it is.
    with contextlib.suppress(ValueError, KeyError, TypeError):
        said = str(json.loads(said)["message"])
    said = " ".join(said.split())
    if answer.status == _BAD_REQUEST:
        raise DockerfileInvalid(f"The Docker Engine does not understand the Dockerfile: {said}.")
    raise EngineUnavailable(f"The Docker Engine answered {answer.status}: {said}")


async def _follow(answer: outbound.Response, on_line: OnLine) -> str:
    """Pass the output on, line by line, to its end; the image's id."""
    image: str | None = None
    instruction = ""
    rest = ""
    async for record in _records(answer):
        if "errorDetail" in record or "error" in record:
            await _tell(on_line, rest)
            detail = record.get("errorDetail") or {}
            said = str(detail.get("message") or record.get("error"))
            raise StepFailed(said, instruction=instruction)
        image = (record.get("aux") or {}).get("ID", image)
        *lines, rest = f"{rest}{record.get('stream', '')}".split("\n")
        for line in lines:
            if step := _STEP.match(line):
                instruction = step["instruction"].upper()
            await _tell(on_line, line)
        if len(rest) > _MOST_LINE_CHARACTERS:
            await _tell(on_line, rest)
            rest = ""
    await _tell(on_line, rest)
    if image is None:
        raise EngineUnavailable("The Docker Engine ended a build without an image and an error.")
    return image


async def _tell(on_line: OnLine, line: str) -> None:
    if line and (room := on_line(line)) is not None:
        await room


async def _records(answer: outbound.Response) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of a stream, one a line."""
    held = b""
    async for chunk in answer.content.iter_any():
        *lines, held = (held + chunk).split(b"\n")
        if len(held) > _MOST_RECORD_BYTES:
            raise EngineUnavailable("The Docker Engine says something that has no end.")
        for line in lines:
            if line.strip():
                yield _record(line)
    if held.strip():
        yield _record(held)


def _record(line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise EngineUnavailable("The Docker Engine said something that is no JSON.") from error
    if not isinstance(record, dict):
        raise EngineUnavailable("The Docker Engine said something that is no JSON object.")
    return record
