"""What every test gets: an environment without our variables, and the servers for the asking."""

from __future__ import annotations

import os

for _name in list(os.environ):
    if _name.startswith(("ZEITWORK_", "OTEL_")):
        del os.environ[_name]

pytest_plugins = [
    "tests.support.servers",
    "tests.support.database",
    "tests.support.api",
    "tests.support.consumers",
    "tests.support.declared",
    "tests.support.github",
    "tests.support.s3",
]
