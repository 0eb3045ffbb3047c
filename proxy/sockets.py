"""Socket options that the event loop has no word for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct


def reset_on_close(transport: asyncio.Transport) -> None:
    """Close with RST: a plain FIN would look like the end of a body that the connection delimits.

    A socket that is closed already needs nothing.
    """
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
