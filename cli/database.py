"""`zeitwork database …`: the schema."""

from __future__ import annotations

from cyclopts import App

from cli.output import out
from zeitwork import config

app = App(name="database", help="Migrate the schema.")


@app.command
async def upgrade(revision: str = "head") -> int:
    """Migrate up to a revision (ZEITWORK_DATABASE_URL)."""
    from db import migrate

    await migrate.upgrade(config.load().database_url, revision)
    out.print(f"at {await migrate.current(config.load().database_url)}")
    return 0


@app.command
async def downgrade(revision: str) -> int:
    """Migrate down to a revision; `base` drops every table."""
    from db import migrate

    await migrate.downgrade(config.load().database_url, revision)
    out.print(f"at {await migrate.current(config.load().database_url)}")
    return 0


@app.command
async def check() -> int:
    """Compare the schema with the models; exit code 1 when they differ."""
    from db import migrate

    found = await migrate.differences(config.load().database_url)
    for difference in found:
        out.print(str(difference))
    return 1 if found else 0
