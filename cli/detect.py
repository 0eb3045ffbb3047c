"""`zeitwork detect`: what a build would make of a directory, without building it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cli import output
from cli.options import Json
from zeitwork import config
from zeitwork.errors import HostUnsupported, NotFound


async def detect(
    directory: Annotated[Path, Parameter(help="The application's directory.")] = Path(),
    /,
    *,
    json: Json = False,
) -> int:
    """Say which builder a directory is for, why, what nearly matched, and what would run."""
    from consumers.builds import builders, intention, listing, tree
    from consumers.builds.engine import EngineSettings, EngineUnavailable

    if not directory.is_dir():
        raise NotFound(f"There is no directory {str(directory)!r}.")
    file = await asyncio.to_thread(intention.read_file, directory)
    app = await asyncio.to_thread(tree.locate, directory.resolve(), file.root or "")
    seen = await asyncio.to_thread(listing.read, app)
    address = config.load().consumers.docker_engine
    understood = intention.understand(seen, file, engine=bool(address))
    try:
        engine = EngineSettings(address) if address else None
        builder = await builders.create(understood.detection.kind, engine=engine)
    except (HostUnsupported, EngineUnavailable) as error:
        # The verdict stands without the tools; only the plan needs their versions.
        return _show(understood.detection.lines, json=json, missing=error.message)
    intended = intention.intend(builder, understood)
    if json:
        output.emit_json(
            {
                **intended.manifest.model_dump(mode="json"),
                "commands": [command.text for command in intended.plan.all_commands],
            }
        )
        return 0
    for line in (*intended.lines, *(f"$ {command.text}" for command in intended.plan.all_commands)):
        output.line(line)
    return 0


def _show(lines: tuple[str, ...], *, json: bool, missing: str) -> int:
    if json:
        output.emit_json({"detected": list(lines), "missing": missing})
        return 0
    for line in lines:
        output.line(line)
    output.notes.print(f"What would run is not known: {missing}")
    return 0
