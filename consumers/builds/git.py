"""Run git on foreign repositories: no prompts, no hooks, no settings of this machine's users."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consumers.builds import host_settings
from consumers.builds.clone_url import PROTOCOLS, Remote
from zeitwork import config, subprocesses
from zeitwork.subprocesses import Completed, OnLine

# Owners differ when the platform runs as another user than whoever pushed into a local
# repository. The file also reaches the programs that git starts, which `-c` would not.
_SETTINGS = """\
[safe]
	directory = *
[core]
	hooksPath = /dev/null
	fsmonitor = false
	longPaths = true
[init]
	defaultBranch = main
[advice]
	detachedHead = false
[fetch]
	recurseSubmodules = false
[submodule]
	recurse = false
[gc]
	auto = 0
[maintenance]
	auto = false
"""
# git's own store answers, from a file that exists only in memory, for as long as we hold it. Unlike
# a header, what is in there goes only to the address that it was given for, neither to argv, an
# environment or a disk nor to wherever the server redirects. It is asked to `get` only: to store or
# to erase it would want to write beside the file.
_LOGIN = """\
[credential]
	helper = "!f() { [ $1 != get ] || exec git credential-store --file=/proc/self/fd/FD get; }; f"
	useHttpPath = true
"""
_LIMITED = 'ulimit -f "$0" && exec "$@"'
_BLOCK_BYTES = 512


@dataclass(slots=True)
class Git:
    """git in one directory; `forget` has to end its use.

    Attributes:
        tree: the working tree.
        settings: a file outside of the tree.
        most_file_bytes: no file that git writes grows beyond this, packs included.
    """

    tree: Path
    settings: Path
    most_file_bytes: int
    timeout_seconds: float
    _login: int | None = field(default=None, init=False)

    async def prepare(self, remote: Remote) -> None:
        """Write the settings; has to come first."""
        self.forget()
        if remote.login is not None:
            self._login = os.memfd_create("login")
            os.write(self._login, f"{remote.login}\n".encode())
        await asyncio.to_thread(self._write_settings)

    def forget(self) -> None:
        """Let go of the credentials; for before anything of the repository runs."""
        login, self._login = self._login, None
        if login is not None:
            os.close(login)

    async def run(self, *arguments: str, on_line: OnLine | None = None) -> Completed:
        """Run `git arguments…`.

        Raises:
            HostUnsupported: git is not installed.
            TimedOut: it took too long.
        """
        limit = str(self.most_file_bytes // _BLOCK_BYTES)
        return await subprocesses.run(
            ["sh", "-c", _LIMITED, limit, "git", *arguments],
            cwd=self.tree,
            env=self._environment(),
            timeout=self.timeout_seconds,
            on_line=on_line,
            max_output=64 * 1024 if on_line is None else 0,
            pass_fds=() if self._login is None else (self._login,),
        )

    def _environment(self) -> Mapping[str, str]:
        return {
            **host_settings.for_git(),
            "PATH": config.search_path(),
            "HOME": str(self.settings.parent),
            "LC_ALL": "C",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.settings),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": PROTOCOLS,
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
            "GIT_LFS_SKIP_SMUDGE": "1",
            "GIT_CEILING_DIRECTORIES": str(self.tree.parent),
        }

    def _write_settings(self) -> None:
        login = "" if self._login is None else _LOGIN.replace("FD", str(self._login))
        self.settings.write_text(_SETTINGS + login)
