"""Finds a free port: the wanted one, else one near it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from zeitwork import logs
from zeitwork.errors import HostUnsupported

_log = logs.get(__name__)
FreeCheck = Callable[[int, str], bool]
ClaimCheck = Callable[[int], bool]
_TRIES = 100
_CLAIMS = Path(tempfile.gettempdir()) / "zeitwork-ports"
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


class Claims:
    """Ports that platforms on this machine have chosen, whether they listen already or not.

    Between the choice and the server's own bind another platform could choose the same port, and
    then take the first one's server for its own. A claim is a lock on a file, which the kernel
    frees when its process ends.
    """

    def __init__(self, directory: Path = _CLAIMS) -> None:
        self._directory = directory

    def claim(self, port: int) -> bool:
        """Hold the port until this process ends; False when another one does.

        Claims are a courtesy among platforms: where somebody made them impossible, the port is
        taken as before there were any.
        """
        try:
            if not self._directory.exists():
                self._directory.mkdir(exist_ok=True)
                self._directory.chmod(0o1777)  # other users come here too, whatever our umask
            descriptor = _open(self._directory / str(port))
        except OSError as error:
            _log.warning("port not claimed", port=port, error=error.strerror)
            return True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        return True


class PortPicker:
    """Chooses ports for one platform; it never gives the same one twice."""

    def __init__(
        self,
        *,
        reserved: range = range(0),
        free: FreeCheck = is_free,
        claim: ClaimCheck = lambda _port: True,
    ) -> None:
        """Choose among what `free` and `claim` allow, outside of `reserved`."""
        self._reserved = reserved
        self._free = free
        self._claim = claim
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
            if self._free(port, host) and self._claim(port):
                self._given.add(port)
                return Port(name, wanted, port)
        raise HostUnsupported(f"no port for {name} is free from {wanted} up; end what uses them")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _open(path: Path) -> int:
    """A descriptor of the file, made when it is not there.

    Reading is enough for a lock. Opening without O_CREAT comes first: the kernel may refuse that
    flag for another user's file in a directory that everybody writes to.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, flags)
    with contextlib.suppress(FileExistsError):
        return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644)
    return os.open(path, flags)
