"""Options that commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from zeitwork import config

Flag = Parameter(negative="", show_default=False)
Json = Annotated[bool, Flag, Parameter(help="Print JSON, for scripts.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """Where the platform is, and how to print.

    Attributes:
        data: Data directory of the platform on this machine; see `data_dir`.
        json: Print JSON (one document, or one a line when streaming).
    """

    data: Annotated[Path | None, Parameter(help="Data directory of the local platform.")] = None
    json: Json = False

    @property
    def data_dir(self) -> Path:
        """The directory that `zeitwork up` uses when it is told the same.

        Raises:
            InvalidSettings: the environment holds a setting that is not usable.
        """
        return self.data or config.load().data_dir
