"""`zeitwork up`: the whole platform on this machine, until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import data_lock, private_files, scaling
from cli.client import ApiProblem
from cli.console import Console, JsonConsole, PeopleConsole
from cli.example import Deployed, deploy_example
from cli.exits import Exit
from cli.local_platform import LocalPlatform
from cli.platform_file import Platform
from cli.scaling import Process
from cli.watch import Watcher
from zeitwork import clock, config, logs, service
from zeitwork.config import Settings
from zeitwork.errors import ZeitworkError


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What the command line says; `data` None: the setting ZEITWORK_DATA_DIR.

    Attributes:
        scale: `group=count` texts.
    """

    data: Path | None = None
    example: bool = False
    verbose: bool = False
    json: bool = False
    scale: tuple[str, ...] = ()


async def up(options: UpOptions) -> int:
    """Run until SIGINT or SIGTERM; a second signal ends everything at once. The exit code.

    Raises:
        Conflict: another process runs on this data directory.
        InvalidInput: see `cli.scaling.parse`.
        ZeitworkError: something did not come up; what did has been stopped.
    """
    began = clock.monotonic()
    settings = config.load()
    processes = _processes(options.scale)
    logs.configure(
        service="up",
        level=settings.log_level if options.verbose else "warning",
        fmt=settings.log_format,
    )
    console: Console = JsonConsole() if options.json else PeopleConsole()
    data_dir = private_files.directory((options.data or settings.data_dir).absolute())
    with data_lock.held(data_dir):
        platform = LocalPlatform(
            settings,
            data_dir=data_dir,
            console=console,
            log_format=_log_format(settings, options),
            on_line=console.line if options.verbose else None,
            processes=processes,
        )
        stop = asyncio.Event()
        with _signals(stop, platform):
            return await _run(platform, stop, options=options, console=console, began=began)


def _processes(scale: Sequence[str]) -> Sequence[Process]:
    if not scale:
        return scaling.UNSCALED  # without the import below, which takes a while
    from consumers.registry import GROUPS

    return scaling.processes(scaling.parse(scale, groups=GROUPS), groups=GROUPS)


async def _run(
    local: LocalPlatform, stop: asyncio.Event, *, options: UpOptions, console: Console, began: float
) -> int:
    up = asyncio.Event()

    async def live() -> None:
        platform = await local.start()
        watcher = Watcher(platform, console.happened)
        await watcher.start()
        try:
            example = await _example(platform, console) if options.example else None
            console.ready(platform, seconds=clock.monotonic() - began, example=example)
            up.set()
            await stop.wait()
        finally:
            await watcher.stop()

    living = service.spawn(live(), "platform")
    stopping = service.spawn(stop.wait(), "stop-requested")
    try:
        await asyncio.wait({living, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if living.done() or up.is_set():
            await living
        return Exit.OK if up.is_set() else Exit.INTERRUPTED
    finally:
        console.step("Stopping …")
        await service.cancel(living, stopping)
        await local.stop()


async def _example(platform: Platform, console: Console) -> Deployed | None:
    """Deploy it; the platform runs on without it."""
    console.step("Deploying the example …")
    try:
        return await deploy_example(platform)
    except (ZeitworkError, ApiProblem) as error:
        console.warn(f"The example was not deployed: {error}")
        return None


@contextmanager
def _signals(stop: asyncio.Event, platform: LocalPlatform) -> Iterator[None]:
    """The first signal asks for an orderly stop, the next ones kill."""

    def on_signal() -> None:
        if stop.is_set():
            platform.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # under nohup it stays ignored
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _log_format(settings: Settings, options: UpOptions) -> str:
    """The services write to pipes: `auto` would mean JSON, also for people who watch."""
    if settings.log_format != "auto":
        return settings.log_format
    return "console" if options.verbose else "json"
