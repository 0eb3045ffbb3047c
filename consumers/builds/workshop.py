"""Where the commands of one build run: in the sandbox, or plainly where the host has none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from consumers.builds import caches, disk_use, host_settings, survivors, toolchains
from consumers.builds.diagnosis import Ending, diagnose
from consumers.builds.plan import Command
from consumers.builds.transcript import Transcript
from events.builds import Stream
from zeitwork import cgroups, config, sandbox, subprocesses

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
_MOST_DISK_BYTES = 8 * 1024**3
_NO_GROUP = cgroups.Group((), lacks=("memory",))


@dataclass(frozen=True, slots=True)
class Workshop:
    """One build's tools and limits.

    Attributes:
        app: the application's directory, /app inside the sandbox.
        home: an empty directory, the home of commands that run without a sandbox.
        cache: the project's package cache, which its builds can write.
        layers: where the project's installed dependencies are kept, out of their reach.
        build_id: marks the processes of this build.
        sandboxed: False runs the commands with the rights of this process.
        variables: of the project, for the environment of the commands and nothing else.
        timeout_seconds: of one command; the pipeline's deadline usually comes first.
        group: limits all processes of the build together, as far as the host allows.
        most_disk_bytes: what the application's directory and home may hold, together with what a
            command adds to the cache.
    """

    app: Path
    home: Path
    cache: Path
    layers: Path
    build_id: str
    sandboxed: bool
    memory_mib: int
    timeout_seconds: float
    transcript: Transcript
    group: cgroups.Group = _NO_GROUP
    most_disk_bytes: int = _MOST_DISK_BYTES
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)

    async def run(self, command: Command, env: Mapping[str, str]) -> None:
        """Run a command to its end, its lines going to the transcript; nothing of it stays.

        Raises:
            BuildCommandFailed: it ended with an error; a subclass where the cause is known.
            BuildOutOfMemory: it needed more memory than it may use.
            BuildFailed: it printed too much.
        """
        self.transcript.say(f"$ {command.text}")
        self.transcript.tail.clear()
        killed = self.group.out_of_memory
        try:
            done = await disk_use.bounded(
                self._execute(command.argv, env),
                own=(self.app, self.home),
                cache=self.cache,
                most_bytes=self.most_disk_bytes,
            )
        finally:
            self.transcript.end_output()
        if done.returncode == 0:
            return
        if command.if_it_fails is not None:
            self.transcript.say(f"Exit code {done.returncode}. {command.if_it_fails}")
            return
        ending = Ending(
            command.text,
            done.returncode,
            tuple(self.transcript.tail),
            self.memory_mib,
            out_of_memory=self.group.out_of_memory > killed,
        )
        raise diagnose(ending)

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
            self.group.entered(self._limited(_LIMITED_PLAIN, argv)),
            cwd=self.app,
            env=self._plain_environment(variables),
            timeout=self.timeout_seconds,
            on_line=self.transcript.output,
            on_error_line=partial(self.transcript.output, stream=Stream.STDERR),
            max_output=0,
            also_end=self._end_all,
        )

    async def _execute_inside(
        self, spec: sandbox.Spec, command: list[str]
    ) -> subprocesses.Completed:
        with _memory_file() as options:
            argv, content = sandbox.veiled(spec, command, options_fd=options)
            os.write(options, content)
            os.lseek(options, 0, os.SEEK_SET)
            return await subprocesses.run(
                self.group.entered(argv),
                # The build can read the environment of bubblewrap, its first process, too.
                env={},
                timeout=self.timeout_seconds,
                on_line=self.transcript.output,
                on_error_line=partial(self.transcript.output, stream=Stream.STDERR),
                max_output=0,
                pass_fds=(options,),
                also_end=self._end_all,
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

    async def _end_all(self) -> None:
        """Nothing of a command stays, though it left its session or emptied its environment."""
        await self.group.kill()
        await survivors.end(self.build_id)

    def _limited(self, script: str, argv: tuple[str, ...]) -> list[str]:
        # The group counts what all processes use; without one each is limited by itself.
        alone = "memory" in self.group.lacks
        filled = script.format(
            blocks=_MOST_FILE_BYTES // 512,
            kib=self.memory_mib * 1024 if alone else "unlimited",
            processes=_MOST_PROCESSES,
        )
        return ["sh", "-c", filled, "sh", *argv]


@contextmanager
def _memory_file() -> Iterator[int]:
    descriptor = os.memfd_create("options")
    try:
        yield descriptor
    finally:
        os.close(descriptor)
