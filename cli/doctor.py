"""`zeitwork doctor`: what this machine has, what is missing, and what to do."""

from __future__ import annotations

import platform as host
import shutil
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cli import output
from cli.exits import Exit
from cli.options import Options
from cli.platform_file import load
from zeitwork import config, outbound, sandbox
from zeitwork.blob_places import S3Place
from zeitwork.errors import HostUnsupported, TimedOut, ZeitworkError

_LEAST_DISK_GIB = 2.0
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` says what to do when it is not ok.

    `required` findings that are not ok make the command fail.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""
    required: bool = True


async def examine(options: Options) -> int:
    """Run every check, print the report; exit code 1 when something needed is missing."""
    data = options.data_dir
    with output.progress("Looking at this machine …"):
        findings = [await check(data) for check in _CHECKS]
    if options.json:
        output.emit_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    failed = any(finding.required and not finding.ok for finding in findings)
    return Exit.UNEXPECTED if failed else Exit.OK


def _print(finding: Finding) -> None:
    mark = "[green]ok[/green]  " if finding.ok else "[red]no[/red]  "
    if not finding.ok and not finding.required:
        mark = "[yellow]--[/yellow]  "
    output.out.print(f"{mark}[bold]{finding.name:<12}[/bold] ", end="")
    output.out.print(finding.detail, markup=False)
    if not finding.ok and finding.advice:
        output.out.print(f"                 {finding.advice}", markup=False, style="dim")


async def _python(_data: Path) -> Finding:
    return Finding("python", ok=True, detail=f"{host.python_version()} at {sys.executable}")


async def _servers(_data: Path) -> Finding:
    from cli.embedded import programs

    try:
        found = programs()
    except HostUnsupported as error:
        return Finding(
            "servers",
            ok=False,
            detail=error.message,
            advice="Set ZEITWORK_DATABASE_URL, ZEITWORK_NATS_URL and ZEITWORK_CACHE_URL instead.",
        )
    return Finding("servers", ok=True, detail=", ".join(path.name for path in found))


async def _git(_data: Path) -> Finding:
    found = config.find_program("git")
    return Finding("git", ok=found is not None, detail=found or "not found", advice="Install git.")


async def _node(_data: Path) -> Finding:
    node, npm = config.find_program("node"), config.find_program("npm")
    ok = node is not None and npm is not None
    return Finding(
        "node.js",
        ok=ok,
        detail=f"{node}, {npm}" if ok else "not found",
        advice="Only needed to build Node.js applications: install nodejs and npm.",
        required=False,
    )


async def _sandbox(_data: Path) -> Finding:
    with TemporaryDirectory() as directory:
        try:
            reason = await sandbox.why_unavailable(Path(directory))
        except TimedOut as error:
            reason = error.message
    return Finding(
        "sandbox",
        ok=reason is None,
        detail=reason or f"bubblewrap at {sandbox.program()}",
        advice="Builds and instances run without isolation (mode plain). Allow unprivileged user "
        "namespaces: sysctl kernel.unprivileged_userns_clone=1",
        required=False,
    )


async def _disk(data: Path) -> Finding:
    there = next(path for path in (data, *data.parents) if path.exists())
    free = shutil.disk_usage(there).free / _GIB
    return Finding(
        "disk",
        ok=free >= _LEAST_DISK_GIB,
        detail=f"{free:.1f} GiB free at {there}",
        advice=f"Free at least {_LEAST_DISK_GIB:g} GiB, or choose another place with --data.",
    )


async def _blobs(data: Path) -> Finding:
    try:
        place = config.load(data_dir=data).blob_place
        if isinstance(place, S3Place):
            await _open_bucket(place)
    except ZeitworkError as error:
        return Finding(
            "artifacts",
            ok=False,
            detail=error.message,
            advice="Look at ZEITWORK_BLOB_STORE: docs/how-to/artifacts.md",
        )
    return Finding("artifacts", ok=True, detail=str(place))


async def _open_bucket(place: S3Place) -> None:
    from zeitwork.s3_blobs import S3BlobStore

    store = S3BlobStore(place)
    await store.start()
    await store.stop()


async def _platform(data: Path) -> Finding:
    running = load(data)
    if running is None:
        return Finding(
            "platform",
            ok=False,
            detail=f"not running on {data}",
            advice="Start it: zeitwork up",
            required=False,
        )
    unready = []
    async with outbound.session(total=3.0) as session:
        for service, port in sorted(running.ops_ports.items()):
            reason = await _why_unready(session, port)
            if reason is not None:
                unready.append(f"{service}: {reason}")
    return Finding(
        "platform",
        ok=not unready,
        detail="; ".join(unready) or f"running, API at {running.api_url}",
        advice=f"Look at the logs in {data / 'logs'}.",
    )


async def _why_unready(session: outbound.Session, port: int) -> str | None:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            document = await answer.json()
            return None if answer.ok else str(document.get("reason", answer.status))
    except (outbound.ClientError, TimeoutError) as error:
        return f"does not answer ({type(error).__name__})"


_CHECKS: tuple[Callable[[Path], Awaitable[Finding]], ...] = (
    _python,
    _servers,
    _git,
    _node,
    _sandbox,
    _disk,
    _blobs,
    _platform,
)
