"""Operations as commands see them: ask for one, wait for it, agree to one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cli import output
from cli.client import Client
from zeitwork import clock
from zeitwork.errors import TimedOut, ZeitworkError

_POLL_SECONDS = 0.2
_WAIT_SECONDS = 45 * 60.0  # more than the platform gives an operation, so it has the last word


class OperationFailed(ZeitworkError):
    """The operation ended, and not well."""

    code = "operation_failed"


async def carried_out(
    client: Client, kind: str, params: Mapping[str, Any], *, doing: str
) -> dict[str, Any]:
    """Ask for an operation and wait for its report; `doing` says what is going on.

    Raises:
        OperationFailed: it ended without a report.
        TimedOut: it goes on, but nobody should wait any longer.
    """
    said = {name: value for name, value in params.items() if value is not None}
    operation = await client.post("/operations", {"kind": kind, "params": said})
    started = clock.monotonic()
    with output.progress(f"{doing} …") as progress:
        while operation["state"] not in {"succeeded", "failed"}:
            waited = clock.monotonic() - started
            if waited > _WAIT_SECONDS:
                raise TimedOut(f"Operation {operation['id']} is still {operation['state']}.")
            if output.err.is_terminal:
                progress.update(f"{doing} … {operation['state']}, {waited:.0f} s")
            await clock.sleep(_POLL_SECONDS)
            operation = await client.get(f"/operations/{operation['id']}")
    if operation["state"] == "failed":
        raise OperationFailed(
            f"Operation {operation['id']}: {operation['error_detail']} ({operation['error_code']})"
        )
    report: dict[str, Any] = operation["report"]
    return report
