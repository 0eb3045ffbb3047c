"""How measurements are printed: side by side with a peer, with the machine they ran on."""

from __future__ import annotations

import os
import platform as host
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from typing_extensions import override

_SYNCS = 200
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of durations, in milliseconds."""

    count: int
    p50: float
    p99: float
    worst: float

    @classmethod
    def of(cls, milliseconds: Sequence[float]) -> Spread:
        """Of any sequence; of an empty one every figure is 0."""
        if not milliseconds:
            return cls(0, 0.0, 0.0, 0.0)
        ordered = sorted(milliseconds)
        return cls(len(ordered), _rank(ordered, 0.5), _rank(ordered, 0.99), ordered[-1])

    @override
    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, worst {self.worst:.1f} ms"


def _rank(ordered: Sequence[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def heading(text: str) -> None:
    print(f"\n{text}", flush=True)


def line(label: str, value: str, note: str = "") -> None:
    """One figure."""
    print(f"  {label:<46} {value}{f'  ({note})' if note else ''}", flush=True)


def ratio(label: str, ours: float, peer: float, goal: str) -> None:
    """Ours as a part of the peer's, both measured in this run."""
    part = f"{ours / peer:.0%}" if peer else "the peer did nothing"
    line(label, part, f"goal {goal}")


def machine(directory: Path) -> None:
    """What the figures depend on besides the program."""
    load = os.getloadavg()[0]
    print(f"{host.platform()}, Python {host.python_version()}")
    print(
        f"{os.cpu_count()} cores shared by clients, servers and database ({_processor()}), "
        f"{psutil.virtual_memory().total / _GIB:.0f} GiB, load {load:.1f} at the start"
    )
    print(f"fdatasync of 4 KiB in {_file_system(directory)}: {_sync(directory)}", flush=True)


def _processor() -> str:
    for each in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = each.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return host.machine()


def _file_system(directory: Path) -> str:
    found = [
        each
        for each in psutil.disk_partitions(all=True)
        if directory.resolve().is_relative_to(each.mountpoint)
    ]
    return max(found, key=lambda each: len(each.mountpoint)).fstype if found else "unknown"


def _sync(directory: Path) -> Spread:
    path = directory / "sync-probe"
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return Spread.of(times)
