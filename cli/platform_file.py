"""`run/platform.json`: how the other commands on this machine find the running platform."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli import private_files
from zeitwork.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Platform:
    """A running platform: its addresses, its credentials, its place.

    Attributes:
        proxy_url: the proxy on this machine, whatever name visitors use.
        public_url: scheme, domain and port that visitors use.
        ports: every port that it took, by name.
        ops_ports: the port of /readyz of each service, by the service's name.
        pid: the process of `zeitwork up`.
    """

    api_url: str
    proxy_url: str
    public_url: str
    api_token: str = field(repr=False)
    webhook_secret: str = field(repr=False)
    data_dir: Path
    ports: Mapping[str, int]
    ops_ports: Mapping[str, int]
    pid: int


def path(data_dir: Path) -> Path:
    return data_dir / "run" / "platform.json"


def save(platform: Platform) -> None:
    private_files.write(
        path(platform.data_dir), json.dumps(asdict(platform), default=str, indent=2) + "\n"
    )


def load(data_dir: Path) -> Platform | None:
    """The platform that runs on `data_dir`, or None.

    Raises:
        InvalidSettings: the file is not one that this version wrote.
    """
    file = path(data_dir)
    try:
        found = json.loads(file.read_text())
        return Platform(**{**found, "data_dir": Path(found["data_dir"])})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidSettings(
            f"{file} cannot be read; restart `zeitwork up` to write it anew"
        ) from error


def remove(data_dir: Path) -> None:
    path(data_dir).unlink(missing_ok=True)
