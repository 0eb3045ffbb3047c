"""Programs that every instance finds on its PATH, besides the system's: name → program."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from zeitwork import sandbox

_BESIDE_US = ("caddy", "uv")  # from wheels of ours


def tools() -> Mapping[str, Path]:
    """Those that exist on this machine."""
    found = {name: Path(sys.executable).with_name(name) for name in _BESIDE_US}
    toolchain = sandbox.python_toolchain() / "bin"
    if not (toolchain / "python").exists():  # Debian's has only python3
        found["python"] = toolchain / "python3"
    return {name: path for name, path in found.items() if path.exists()}
