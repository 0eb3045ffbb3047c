"""`zeitwork database …`: the schema."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from cli import output
from cli.exits import Exit
from cli.options import Json
from zeitwork import config

app = App(name="database", help="Migrate the schema.")


@app.command
async def upgrade(
    revision: Annotated[str, Parameter(help="Where to; `head` is the newest.")] = "head",
    /,
    *,
    json: Json = False,
) -> int:
    """Migrate up to a revision (ZEITWORK_DATABASE_URL)."""
    from db import migrate

    url = config.load().database_url
    with output.progress("Migrating …"):
        await migrate.upgrade(url, revision)
    return await _report(json=json)


@app.command
async def downgrade(
    revision: Annotated[str, Parameter(help="Where to; `base` is the empty database.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Migrate down to a revision; what the newer ones added is lost."""
    from db import migrate

    url = config.load().database_url
    with output.progress("Migrating …"):
        await migrate.downgrade(url, revision)
    return await _report(json=json)


@app.command
async def check(*, json: Json = False) -> int:
    """Compare the schema with the models; exit code 1 when they differ."""
    from db import migrate

    found = [str(each) for each in await migrate.differences(config.load().database_url)]
    if json:
        output.emit_json({"differences": found})
    else:
        for difference in found:
            output.line(difference)
    return Exit.UNEXPECTED if found else Exit.OK


async def _report(*, json: bool) -> int:
    from db import migrate

    revision = await migrate.current(config.load().database_url)
    if json:
        output.emit_json({"revision": revision})
    else:
        output.line(f"at {revision or 'base'}")
    return Exit.OK
