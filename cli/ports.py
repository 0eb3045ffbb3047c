"""Finds a free port: the wanted one, else one near it."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from zeitwork.errors import HostUnsupported

FreeCheck = Callable[[int, str], bool]
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


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now.

    It listens for a moment, with SO_REUSEADDR as servers do: connections of a former server that
    linger in TIME_WAIT do not count, a listener does.

    Raises:
        HostUnsupported: nobody may listen there, or not this user.
    """
    with contextlib.closing(socket.socket(_family(host), socket.SOCK_STREAM)) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
            trial.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise HostUnsupported(
                f"cannot listen on {host} port {port}: {error.strerror}; choose another"
            ) from error
        return True


class PortPicker:
    """Chooses ports for one platform; it never gives the same one twice."""

    def __init__(self, *, reserved: range = range(0), free: FreeCheck = is_free) -> None:
        self._reserved = reserved
        self._free = free
        self._given: set[int] = set()

    def pick(self, name: str, wanted: int, *, host: str = "127.0.0.1") -> Port:
        """The first free port from `wanted` up, outside the reserved range.

        Raises:
            HostUnsupported: none of the next hundred is free, or `wanted` is not allowed.
        """
        candidates = (
            port
            for port in range(wanted, _HIGHEST + 1)
            if port not in self._given and port not in self._reserved
        )
        for port in islice(candidates, _TRIES):
            if self._free(port, host):
                self._given.add(port)
                return Port(name, wanted, port)
        raise HostUnsupported(f"no port for {name} is free from {wanted} up; end what uses them")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
