"""The languages as this machine has them; builds and instances share them."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from zeitwork import config, sandbox, subprocesses
from zeitwork.errors import HostUnsupported

_VERSION_TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A language's version, without a leading v, and its program."""

    version: str
    program: Path


def python() -> Toolchain:
    """The interpreter that Zeitwork itself runs on, outside its virtual environment."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Toolchain(platform.python_version(), sandbox.python_toolchain() / "bin" / name)


async def node() -> Toolchain:
    """Node.js.

    Raises:
        HostUnsupported: it is not installed.
    """
    found = config.find_program("node")
    if found is None or config.find_program("npm") is None:
        raise HostUnsupported("Node.js and npm are not installed on this machine.")
    output = await subprocesses.check([found, "--version"], timeout=_VERSION_TIMEOUT_SECONDS)
    return Toolchain(output.strip().removeprefix("v"), Path(found))


def uv() -> Path:
    """The installer of Python packages.

    Raises:
        HostUnsupported: it is not installed.
    """
    try:
        from uv import find_uv_bin

        return Path(find_uv_bin())
    except (ImportError, FileNotFoundError):
        found = config.find_program("uv")
    if found is None:
        raise HostUnsupported("uv is not installed: pip install uv")
    return Path(found)
