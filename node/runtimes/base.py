"""What the agent asks of a runtime: start, adopt, watch and stop one instance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from events.instances import InstanceSpec


@dataclass(frozen=True, slots=True)
class Paths:
    """Where an instance lives on this machine.

    Attributes:
        app: the unpacked artifact, shared by its instances and never written to.
        run: the instance's own directory, kept across its restarts.
    """

    app: Path
    run: Path

    @property
    def log(self) -> Path:
        return log_file(self.run)


def log_file(run: Path) -> Path:
    """What the instance prints; a runtime lets it append there without the agent's help."""
    return run / "output.log"


class Handle(BaseModel):
    """What is needed to find a started instance again, also after the agent was restarted.

    Attributes:
        birth: tells the process from any other that ever has the same pid.
        mode: how the runtime runs it.
        port: where it listens; None for a release command, which has no port.
    """

    model_config = ConfigDict(frozen=True)

    instance_id: str
    pid: int
    birth: str
    mode: str
    port: int | None
    run: Path


class Runtime(Protocol):
    """Runs instances. Every operation is safe to repeat.

    Who starts or adopts an instance calls `stop` in the end, also when it has ended by itself.
    """

    @property
    def name(self) -> str:
        """As the control plane knows it."""

    @property
    def mode(self) -> str:
        """How new instances are run; for logs."""

    async def open(self) -> None:
        """Find out what this machine allows.

        Raises:
            HostUnsupported: it cannot run instances at all.
        """

    async def start(self, spec: InstanceSpec, paths: Paths, *, port: int | None) -> Handle:
        """Start it, listening on `port` of the loopback address, if it is given one.

        Returns before it is ready. How a release command ends can be told by `wait` of a later
        agent too, as it has to be known.

        Nothing is left running when this is cancelled or raises.

        Raises:
            HostUnsupported: the machine cannot run it.
            InvalidInput: the specification cannot be turned into a process.
        """

    async def adopt(self, handle: Handle) -> bool:
        """Take over an instance of an earlier agent; False when it has ended."""

    async def wait(self, handle: Handle) -> int | None:
        """Return when it has ended: its exit code, 128 + n for signal n, None when unknown."""

    async def stop(self, handle: Handle, *, grace_seconds: float) -> int | None:
        """Ask it to end, kill it after the grace, leave nothing behind; its exit code."""

    async def purge(self, run: Path) -> None:
        """End what was started from this directory by an agent that had no time to note it.

        There is no handle then; a runtime that cannot tell leaves it.
        """
