"""Finds a free port: the wanted one, else one near it."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from zeitwork.errors import HostUnsupported

_TRIES = 100
_HIGHEST = 65535


@dataclass(frozen=True, slots=True)
class Port:
    """A port that was chosen, and the one that was wanted."""

    name: str
    wanted: int
    got: int

    @property
    def moved(self) -> bool:
        return self.got != self.wanted


class PortPicker:
    """Chooses ports for one platform; it never gives the same one twice."""

    def __init__(self, *, reserved: range = range(0)) -> None:
        self._reserved = reserved
        self._given: set[int] = set()

    def pick(self, name: str, wanted: int, *, host: str = "127.0.0.1") -> Port:
        """The first free port from `wanted` up, outside the reserved range.

        Raises:
            HostUnsupported: none of the next hundred is free.
        """
        candidates = (
            port
            for port in range(wanted, _HIGHEST + 1)
            if port not in self._given and port not in self._reserved
        )
        for port, _ in zip(candidates, range(_TRIES), strict=False):
            if is_free(port, host=host):
                self._given.add(port)
                return Port(name, wanted, port)
        raise HostUnsupported(f"no port for {name} is free from {wanted} up; end what uses them")


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now.

    It listens for a moment, with SO_REUSEADDR as servers do: connections of a former server that
    linger in TIME_WAIT do not count, a listener does.
    """
    with contextlib.closing(socket.socket(_family(host), socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
