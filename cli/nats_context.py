"""`zeitwork nats context`: lets the stock `nats` program talk to the platform's broker.

The file is what `nats context add` writes: see `natscontext` in https://github.com/nats-io/jsm.go.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from cli import output, private_files
from cli.broker import find_url
from cli.exits import Exit
from cli.options import Flag, Options
from zeitwork import config
from zeitwork.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from events.nats_url import Endpoint

app = App(name="nats", help="The stock `nats` program: a context for it.")

_DEFAULT_NAME = "zeitwork"
_DESCRIPTION = "Zeitwork, written by `zeitwork nats context`"
# natscontext refuses a name that is empty or holds `..` or `/`; the rest is for shells.
_NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_MASK = "********"


@app.command
async def context(
    name: Annotated[str, Parameter(help="Name of the context.")] = _DEFAULT_NAME,
    /,
    *,
    print_: Annotated[
        bool,
        Flag,
        Parameter(name="--print", help="Only print it, with the secret masked."),
    ] = False,
    force: Annotated[
        bool, Flag, Parameter(help="Replace a context that somebody else made.")
    ] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Write a context for the `nats` program, with the address and the secret of the broker."""
    from events import nats_url

    if _NAME.fullmatch(name) is None:
        raise InvalidInput(f"{name!r} cannot name a context: use letters, digits, - and _.")
    document = contents(nats_url.parse(find_url(options)))
    if print_:
        _print(masked(document), options)
        return Exit.OK
    path = directory() / f"{name}.json"
    if not force:
        _refuse_foreign(path)
    private_files.write(path, json.dumps(document, indent=2) + "\n")
    if options.json:
        output.emit_json({"name": name, "path": str(path), "url": document["url"]})
        return Exit.OK
    output.out.print(str(path), markup=False)
    output.notes.print(f"Use it: nats --context {name} stream ls", markup=False)
    return Exit.OK


def directory() -> Path:
    """Where the `nats` program looks for contexts."""
    return config.config_home() / "nats" / "context"


def contents(endpoint: Endpoint) -> dict[str, str]:
    """The context; only the keys that say something, the others are empty by default."""
    said = {
        "description": _DESCRIPTION,
        "url": ",".join(endpoint.servers),
        "token": endpoint.token,
        "user": endpoint.user,
        "password": endpoint.password,
    }
    return {key: value for key, value in said.items() if value is not None}


def masked(document: dict[str, str]) -> dict[str, str]:
    return {
        key: _MASK if key in {"token", "password"} else value for key, value in document.items()
    }


def _refuse_foreign(path: Path) -> None:
    """Raise Conflict where a context is that we did not write: it holds somebody's credentials."""
    try:
        found: Any = json.loads(path.read_text())
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("description") != _DESCRIPTION:
        raise Conflict(f"{path} is somebody else's; choose another name, or replace it by --force.")


def _print(document: dict[str, str], options: Options) -> None:
    if options.json:
        output.emit_json(document)
    else:
        output.out.print(json.dumps(document, indent=2), markup=False)
