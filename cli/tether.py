"""Ties a child's life to ours: when this process is killed outright, its children get a signal.

Linux offers this per process (PR_SET_PDEATHSIG) and util-linux' `setpriv` sets it before it
replaces itself by the program, so the process id stays the program's. Elsewhere children outlive a
killed parent until the next start finds them (cli/leftovers.py).
"""

from __future__ import annotations

import signal
from functools import cache

from zeitwork import config, subprocesses
from zeitwork.errors import HostUnsupported, TimedOut


async def prefix(number: signal.Signals) -> list[str]:
    """What to put before a program's argv so that our death sends it signal `number`."""
    argv = ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), "--"]
    return argv if await _works(tuple(argv)) else []


@cache
def _verdicts() -> dict[tuple[str, ...], bool]:
    return {}


async def _works(argv: tuple[str, ...]) -> bool:
    """Whether this host's `setpriv` exists and knows the option (busybox's does not)."""
    if argv not in _verdicts():
        if config.find_program(argv[0]) is None:
            return False
        try:
            tried = await subprocesses.run([*argv, "true"], timeout=5)
        except (HostUnsupported, TimedOut):
            return False
        _verdicts()[argv] = tried.returncode == 0
    return _verdicts()[argv]
