"""What every test gets: an environment without our variables, and the servers for the asking."""

from __future__ import annotations

import os
import signal

for _name in list(os.environ):
    if _name.startswith(("ZEITWORK_", "OTEL_")):
        del os.environ[_name]

# What a shell starts in the background ignores Ctrl-C, and so would every program under test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.support.servers",
    "tests.support.database",
    "tests.support.api",
    "tests.support.consumers",
    "tests.support.declared",
    "tests.support.github",
    "tests.support.s3",
]
