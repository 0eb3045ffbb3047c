"""Leases of ports for instances: never the same one twice, never one that is in use."""

from __future__ import annotations

import socket
from contextlib import closing
from pathlib import Path

from zeitwork.errors import HostUnsupported


class Ports:
    """Ports of a range, both ends included; the search goes on behind the last lease.

    A port that was just given back is not used again soon: a late client of its former instance,
    or a proxy with an old route, must not reach another one. That holds across restarts, as the
    file `memory` names the last lease.
    """

    def __init__(self, lowest: int, highest: int, *, memory: Path) -> None:
        self._lowest = lowest
        self._count = highest - lowest + 1
        self._memory = memory
        self._next = self._remembered()
        self._leased: set[int] = set()

    def lease(self) -> int:
        """A port that nothing listens on.

        Raises:
            HostUnsupported: all are in use.
        """
        for _ in range(self._count):
            port = self._lowest + self._next
            self._next = (self._next + 1) % self._count
            if port not in self._leased and _is_free(port):
                self._leased.add(port)
                self._memory.write_text(str(port))
                return port
        raise HostUnsupported(
            f"all {self._count} ports for instances are in use: widen ZEITWORK_NODE__PORT_RANGE"
        )

    def keep(self, port: int) -> None:
        """Note that an adopted instance has this port."""
        self._leased.add(port)

    def release(self, port: int) -> None:
        self._leased.discard(port)

    def _remembered(self) -> int:
        """Where the search goes on; anywhere will do when the file is of no use."""
        try:
            last = int(self._memory.read_bytes())
        except (FileNotFoundError, ValueError):
            return 0
        return (last + 1 - self._lowest) % self._count


def _is_free(port: int) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
