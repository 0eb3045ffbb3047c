"""Run git on foreign repositories: no prompts, no hooks, no settings of this machine's users."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
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
[credential]
	helper = store
	useHttpPath = true
"""
# Where `git credential-store` looks, below HOME. Unlike a header, what is in there goes only to the
# address that it was given for, neither to argv nor to wherever the server redirects.
_LOGINS = ".git-credentials"
_LIMITED = 'ulimit -f "$0" && exec "$@"'
_BLOCK_BYTES = 512


@dataclass(frozen=True, slots=True)
class Git:
    """git in one directory.

    Attributes:
        tree: the working tree.
        settings: a file in a private directory, outside of the tree: credentials lie beside it.
        most_file_bytes: no file that git writes grows beyond this, packs included.
    """

    tree: Path
    settings: Path
    most_file_bytes: int
    timeout_seconds: float

    async def prepare(self, remote: Remote) -> None:
        """Write the settings; has to come first."""
        await asyncio.to_thread(self._write_settings, remote)

    def forget(self) -> None:
        """Remove the credentials; for before anything of the repository runs."""
        self._logins.unlink(missing_ok=True)

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
        )

    @property
    def _logins(self) -> Path:
        return self.settings.with_name(_LOGINS)

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

    def _write_settings(self, remote: Remote) -> None:
        self.settings.write_text(_SETTINGS)
        if remote.login is not None:
            self._logins.touch(mode=0o600)
            self._logins.write_text(f"{remote.login}\n")
