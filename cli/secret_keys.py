"""`zeitwork secrets …`: the keys that seal secrets in the database."""

from __future__ import annotations

from typing import Any

from cyclopts import App

from cli import output, secrets_file
from cli.client import connect
from cli.exits import Exit
from cli.options import Json, Options
from zeitwork import sealing

app = App(
    name="secrets", help="The keys that seal secrets in the database: keys, create, add, rotate."
)


@app.command
async def keys(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Show which keys there are and how many values each has sealed."""
    async with connect(options) as client:
        found = await client.get("/secret-keys")
    _print(found, options)
    return Exit.OK


@app.command
def create(*, json: Json = False) -> int:
    """Print a new key for ZEITWORK_SECRET_KEYS."""
    key = sealing.new_key()
    if json:
        output.emit_json({"id": key.id, "key": key.text})
    else:
        output.line(key.text)
    return Exit.OK


@app.command
def add(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Put a new key in front of those of `zeitwork up`; it counts from its next start."""
    added = secrets_file.add_key(options.data_dir / "secrets.json")
    if options.json:
        output.emit_json({"id": added})
    else:
        output.line(f"Added the key {added}. Restart `zeitwork up`, then: zeitwork secrets rotate")
    return Exit.OK


@app.command
async def rotate(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """Seal every value with the first key, and say which keys may be dropped then."""
    resealed = 0
    async with connect(options) as client:
        with output.progress("Sealing …") as status:
            while True:
                found = await client.post("/secret-keys/rotate", {})
                resealed += found["resealed"]
                if not found["resealed"]:
                    break
                status.update(f"Sealing … {found['remaining']} to go")
    _print({**found, "resealed": resealed}, options)
    return Exit.OK if not found["remaining"] else Exit.UNEXPECTED


def _print(found: dict[str, Any], options: Options) -> None:
    if options.json:
        output.emit_json(found)
        return
    output.table(
        ["KEY", "VALUES", ""],
        [[each["id"], str(each["values"]), _remark(each)] for each in found["items"]],
        empty="No keys: set ZEITWORK_SECRET_KEYS.",
    )
    if found["resealed"]:
        output.line(f"{found['resealed']} values sealed anew.")
    for each in found["items"]:
        if each["droppable"]:
            output.line(
                f"Nothing is sealed with {each['id']} any more: once every process has been "
                "started with the new ring, drop it."
            )


def _remark(key: dict[str, Any]) -> str:
    if not key["known"]:
        return "not on the ring: its values cannot be read"
    return "seals" if key["seals"] else ""
