"""The control plane as a node sees it: registration, the desired set, artifacts. HTTP only."""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from events.instances import DesiredState, InstanceVariables
from zeitwork import outbound, tracing
from zeitwork.config import NodeSettings
from zeitwork.errors import ArtifactCorrupt, NotFound, Unauthenticated, Unavailable

_PREFIX = "/api/v1"
_CHUNK_BYTES = 256 * 1024
_SILENCE_SECONDS = 30.0  # a download may take long, but not stand still
_MIB = 1024 * 1024
_NOT_FOUND, _UNAUTHORIZED = 404, 401


class Identity(BaseModel):
    """What the control plane knows this node as."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str


class ControlPlane:
    """Calls of the API with the node's token; a Service."""

    name = "control-plane"

    def __init__(self, settings: NodeSettings, *, token: str) -> None:
        self._settings = settings
        self._token = token
        self._base = settings.api_url.rstrip("/") + _PREFIX
        self._session: outbound.Session | None = None

    async def start(self) -> None:
        if self._session is None:
            # An artifact's size, not a clock, bounds its download.
            self._session = outbound.session(
                total=None, silence=_SILENCE_SECONDS, token=self._token
            )

    async def ready(self) -> str | None:
        return None if self._session is not None else "not started"

    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def register(self, runtime: str) -> Identity:
        """Say what this machine is; the same name gets the same identity again.

        Raises:
            Unavailable: the API does not answer or refuses.
            Unauthenticated: the token is not valid.
        """
        said = {
            "name": self._settings.name,
            "address": self._settings.address,
            "runtime": runtime,
            "architecture": platform.machine() or "unknown",
            "cpu_millis": (psutil.cpu_count() or 1) * 1000,
            "memory_mib": psutil.virtual_memory().total // _MIB,
        }
        async with self._call("POST", "/nodes", json=said) as answer:
            return Identity.model_validate_json(await answer.read())

    async def desired(self, node_id: str) -> DesiredState:
        """Everything that this node is to run.

        Raises:
            NotFound: the control plane does not know this identity.
            Unavailable, Unauthenticated: see `register`.
        """
        async with self._call("GET", f"/nodes/{node_id}/desired") as answer:
            return DesiredState.model_validate_json(await answer.read())

    async def variables(self, node_id: str, instance_id: str) -> dict[str, str]:
        """The project's variables for an instance of this node.

        Raises:
            NotFound: it is no longer to run here.
            Unavailable, Unauthenticated: see `register`.
        """
        path = f"/nodes/{node_id}/instances/{instance_id}/variables"
        async with self._call("GET", path) as answer:
            return InstanceVariables.model_validate_json(await answer.read()).values

    async def download(self, digest: str, target: Path, *, most_bytes: int) -> None:
        """Write an artifact's bytes into the file `target`.

        Raises:
            NotFound: there is no such artifact.
            ArtifactCorrupt: more came than was announced.
            Unavailable: the connection broke.
        """
        received = 0
        async with self._call("GET", f"/artifacts/{digest}") as answer:
            with target.open("wb") as file:
                async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
                    received += len(chunk)
                    if received > most_bytes:
                        raise ArtifactCorrupt(f"artifact {digest} is larger than announced")
                    file.write(chunk)

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, *, json: object = None
    ) -> AsyncIterator[outbound.Response]:
        if self._session is None:
            raise Unavailable("the control plane's client is not started")
        headers: dict[str, str] = {}
        tracing.inject(headers)
        try:
            async with self._session.request(
                method, self._base + path, json=json, headers=headers
            ) as answer:
                if answer.status == _NOT_FOUND:
                    raise NotFound(f"the control plane does not know {path}")
                if answer.status == _UNAUTHORIZED:
                    raise Unauthenticated("the node's token is not valid: set ZEITWORK_NODE_TOKEN")
                if not answer.ok:
                    raise Unavailable(f"{method} {path} was answered with {answer.status}")
                yield answer
        except (outbound.ClientError, TimeoutError) as error:
            raise Unavailable(
                f"the control plane at {self._settings.api_url} does not answer"
            ) from error
        except ValidationError as error:
            raise Unavailable(
                f"{method} {path} at {self._settings.api_url} was answered, but not by Zeitwork"
            ) from error
