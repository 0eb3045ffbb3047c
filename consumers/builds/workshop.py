"""Where the commands of one build run: in the sandbox, or plainly where the host has none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from consumers.builds import caches, host_settings, survivors, toolchains
from consumers.builds.plan import Command
from consumers.builds.transcript import Transcript
from zeitwork import config, sandbox, subprocesses
from zeitwork.errors import BuildCommandFailed

_MOST_PROCESSES = 4096
_MOST_FILE_BYTES = 4 * 1024**3
# Limits that every process inherits: no core files; memory is a process's own (RLIMIT_DATA),
# since address space is reserved by the terabyte; dash and bash name the process limit otherwise.
_LIMITED = (
    "ulimit -c 0; ulimit -f {blocks}; ulimit -d {kib}; "
    "{{ ulimit -u {processes} || ulimit -p {processes}; }} 2>/dev/null; "
    'exec "$@"'
)
_LIMITED_PLAIN = 'ulimit -c 0; ulimit -f {blocks}; ulimit -d {kib}; exec "$@"'
_SIGNALLED = 128


@dataclass(frozen=True, slots=True)
class Workshop:
    """One build's tools and limits.

    Attributes:
        app: the application's directory, /app inside the sandbox.
        home: an empty directory, the home of commands that run without a sandbox.
        cache: the repository's package cache.
        build_id: marks the processes of this build.
        sandboxed: False runs the commands with the rights of this process.
        variables: of the project, for the environment of the commands and nothing else.
        timeout_seconds: of one command; the pipeline's deadline usually comes first.
    """

    app: Path
    home: Path
    cache: Path
    build_id: str
    sandboxed: bool
    memory_mib: int
    timeout_seconds: float
    transcript: Transcript
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def run(self, command: Command, env: Mapping[str, str]) -> None:
        """Run a command to its end, its lines going to the transcript; nothing of it stays.

        Raises:
            BuildCommandFailed: it ended with an error.
            BuildFailed: it printed too much.
        """
        self.transcript.say(f"$ {command.text}")
        try:
            done = await self._execute(command.argv, env)
        finally:
            await survivors.end(self.build_id)
            self.transcript.end_output()
        if done.returncode == 0:
            return
        if command.if_it_fails is not None:
            self.transcript.say(f"Exit code {done.returncode}. {command.if_it_fails}")
            return
        raise BuildCommandFailed(self._explanation(command, done.returncode))

    async def _execute(
        self, argv: tuple[str, ...], env: Mapping[str, str]
    ) -> subprocesses.Completed:
        tools = {"uv": toolchains.uv()} if argv[0] == "uv" else {}
        settings = host_settings.for_builds()
        variables = {**settings, **self.variables, **env, survivors.VARIABLE: self.build_id}
        if self.sandboxed:
            spec = self._spec(tools, variables, settings)
            return await self._execute_inside(spec, self._limited(_LIMITED, argv))
        argv = (str(tools.get(argv[0], argv[0])), *argv[1:])
        return await subprocesses.run(
            self._limited(_LIMITED_PLAIN, argv),
            cwd=self.app,
            env=self._plain_environment(variables),
            timeout=self.timeout_seconds,
            on_line=self.transcript.output,
            max_output=0,
        )

    async def _execute_inside(
        self, spec: sandbox.Spec, command: list[str]
    ) -> subprocesses.Completed:
        with _memory_file() as options:
            argv, content = sandbox.veiled(spec, command, options_fd=options)
            os.write(options, content)
            os.lseek(options, 0, os.SEEK_SET)
            return await subprocesses.run(
                argv,
                # The build can read the environment of bubblewrap, its first process, too.
                env={},
                timeout=self.timeout_seconds,
                on_line=self.transcript.output,
                max_output=0,
                pass_fds=(options,),
            )

    def _spec(
        self, tools: dict[str, Path], variables: dict[str, str], settings: dict[str, str]
    ) -> sandbox.Spec:
        python = sandbox.python_toolchain()
        return sandbox.Spec(
            app=self.app,
            throwaway=False,
            env=sandbox.environment(
                {**variables, **caches.environment(caches.INSIDE)},
                path=(f"{sandbox.APP}/.venv/bin", f"{python}/bin"),
            ),
            tools=tools,
            read_only=(python, *host_settings.paths_in(settings)),
            writable={caches.INSIDE: self.cache},
        )

    def _plain_environment(self, variables: dict[str, str]) -> dict[str, str]:
        path = (f"{self.app}/.venv/bin", f"{sandbox.python_toolchain()}/bin", config.search_path())
        return {
            **sandbox.environment(variables),
            **caches.environment(self.cache),
            "HOME": str(self.home),
            "PATH": ":".join(path),
        }

    def _limited(self, script: str, argv: tuple[str, ...]) -> list[str]:
        filled = script.format(
            blocks=_MOST_FILE_BYTES // 512, kib=self.memory_mib * 1024, processes=_MOST_PROCESSES
        )
        return ["sh", "-c", filled, "sh", *argv]

    def _explanation(self, command: Command, returncode: int) -> str:
        signal = returncode - _SIGNALLED if returncode > _SIGNALLED else -returncode
        how = f"ended with exit code {returncode}"
        if 0 < signal < 65:  # noqa: PLR2004 - the signals of Linux
            how = f"was ended by signal {signal} (each process may use {self.memory_mib} MiB)"
        last = f" Its last line was: {self.transcript.last[:300]}" if self.transcript.last else ""
        return f"`{command.text}` {how}.{last}"


@contextmanager
def _memory_file() -> Iterator[int]:
    descriptor = os.memfd_create("options")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
