"""Named points at which a fault test ends or stops this process: between two steps, not near them.

`ZEITWORK_FAILPOINT=relay.published` kills the process (SIGKILL: nothing is cleaned up, no handler
runs) the first time that it reaches the point; `relay.published:3` the third time;
`relay.published:1:stop` stops it (SIGSTOP) until it gets SIGCONT. Only one point is armed at a
time, and none in production. See docs/decisions/0005-failpoints.md.
"""

from __future__ import annotations

import os
import re
import signal
from dataclasses import dataclass
from enum import StrEnum

from zeitwork.errors import InvalidSettings

_FORM = re.compile(r"(?P<point>[a-z.]+)(:(?P<count>[1-9][0-9]{0,5}))?(:(?P<action>kill|stop))?")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoint(StrEnum):
    """Every point there is; each is reached in exactly one place of the product."""

    WEBHOOK_STORED = "webhook.stored"  # in the transaction, before its commit
    WEBHOOK_COMMITTED = "webhook.committed"  # before the answer
    RELAY_CLAIMED = "relay.claimed"  # rows are taken, nothing is published
    RELAY_PUBLISHED = "relay.published"  # the broker has them, the rows are not deleted yet
    HANDLER_ENTERED = "handler.entered"  # before the transaction
    HANDLER_APPLIED = "handler.applied"  # effects and inbox row are written, not committed
    HANDLER_COMMITTED = "handler.committed"  # before the acknowledgement
    BUILD_TAKEN = "build.taken"  # the lease is committed, nothing is done
    BUILD_FETCHED = "build.fetched"  # the source lies in the build's directory
    BUILD_BUILT = "build.built"  # commands have run, nothing is stored
    BUILD_STORED = "build.stored"  # the artifact is stored, no row says so
    BUILD_RECORDED = "build.recorded"  # the result is committed, the message not acknowledged
    NODE_REPORTING = "node.reporting"  # an instance changed, nobody was told


@dataclass(frozen=True, slots=True)
class Armed:
    """A point, how often it is reached until something happens, and what happens then."""

    point: Failpoint
    count: int
    signal: signal.Signals


class _Fuse:
    """The armed point of this process; replaced as a whole."""

    __slots__ = ("armed", "left")

    def __init__(self, armed: Armed) -> None:
        self.armed = armed
        self.left = armed.count


_fuse: _Fuse | None = None


def parse(text: str) -> Armed:
    """Read `point[:count][:kill|stop]`.

    Raises:
        InvalidSettings: it is not of that form, or there is no such point.
    """
    found = _FORM.fullmatch(text)
    if found is None or found["point"] not in {*Failpoint}:
        raise InvalidSettings(
            f"ZEITWORK_FAILPOINT={text!r} is not POINT[:COUNT][:kill|stop]; "
            f"points are {', '.join(Failpoint)}"
        )
    point, count, action = found["point"], found["count"], found["action"]
    return Armed(Failpoint(point), int(count or 1), _SIGNALS[action or "kill"])


def arm(armed: Armed | None) -> None:
    """Arm one point of this process, or none."""
    global _fuse  # noqa: PLW0603 - a process has one fuse, and an unset one must cost nothing
    _fuse = None if armed is None else _Fuse(armed)


def reach(point: Failpoint) -> None:
    """Say that the process is at `point`; it may not get any further."""
    if _fuse is not None:
        _burn(_fuse, point)


def _burn(fuse: _Fuse, point: Failpoint) -> None:
    if point is not fuse.armed.point:
        return
    fuse.left -= 1
    if fuse.left == 0:  # a process that was stopped and goes on does not stop again
        os.kill(os.getpid(), fuse.armed.signal)
