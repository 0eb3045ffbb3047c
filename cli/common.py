"""Options that every command takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Where the platform is, and how to print.

    Attributes:
        data: Data directory of the platform on this machine.
        json: Print JSON (one document, or one a line when streaming).
    """

    data: Annotated[Path | None, Parameter(help="Data directory of the local platform.")] = None
    json: Annotated[bool, Parameter(negative="", help="Print JSON, for scripts.")] = False
