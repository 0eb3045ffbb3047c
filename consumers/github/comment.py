"""The text of the comment on a pull request: its previews, one line for each project. Pure.

What comes from a build (an error's detail) is shown as code: it can then neither break the table
nor mention people, name issues or hold markup, whoever wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from events.states import DeploymentState

_DETAIL_LENGTH = 300
_SHA_LENGTH = 7
_STATES: Mapping[DeploymentState, str] = {
    DeploymentState.QUEUED: "Queued",
    DeploymentState.BUILDING: "Building",
    DeploymentState.DEPLOYING: "Starting",
    DeploymentState.ACTIVE: "**Ready**",
    DeploymentState.SUPERSEDED: "Superseded",
    DeploymentState.FAILED: "**Failed**",
    DeploymentState.CANCELLED: "Cancelled",
    DeploymentState.STOPPED: "Stopped",
}


@dataclass(frozen=True, slots=True)
class Version:
    """The newest deployment of a preview.

    Attributes:
        url: of this very commit, which answers while the commit serves.
        logs: where its logs are: an address, or a command.
    """

    state: DeploymentState
    commit_sha: str
    error_code: str | None
    error_detail: str | None
    url: str | None
    logs: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """A project in the table.

    Attributes:
        removed_at: since when its preview is gone; None while it is there.
        reason: what the preview waits for.
        url: of the preview, whatever commit serves there.
    """

    project: str
    removed_at: datetime | None = None
    reason: str | None = None
    url: str | None = None
    version: Version | None = None


def marker(organisation_id: str) -> str:
    """What nobody sees, and by which our comment is found again."""
    return f"<!-- zeitwork previews {organisation_id} -->"


def text(lines: Sequence[Line], *, organisation_id: str) -> str:
    """The whole comment."""
    head = (
        "| Project | Status | Preview | Commit | Logs | Updated (UTC) |",
        "| --- | --- | --- | --- | --- | --- |",
    )
    rows = [_row(line) for line in sorted(lines, key=lambda each: each.project)]
    return "\n".join((marker(organisation_id), "### Previews", "", *head, *rows, ""))


def _row(line: Line) -> str:
    version = line.version
    if line.removed_at is not None:
        cells = [line.project, "Removed", "", "", "", _time(line.removed_at)]
    elif version is None:
        cells = [line.project, _waiting(line.reason), _link(line.url, line.url), "", "", ""]
    else:
        status = _status(version)
        if line.reason is not None:
            status = f"{status}<br>{_waiting(line.reason)}"
        cells = [
            line.project,
            status,
            _link(line.url, line.url),
            _commit(version),
            _logs(version.logs),
            _time(version.at),
        ]
    return f"| {' | '.join(cells)} |"


def _status(version: Version) -> str:
    said = _STATES[version.state]
    if version.state is not DeploymentState.FAILED:
        return said
    last = [each for each in (version.error_detail or "").splitlines() if each.strip()]
    code = _code(version.error_code or "failed")
    return f"{said} {code}" + (f"<br>{_code(last[-1])}" if last else "")


def _waiting(reason: str | None) -> str:
    return f"Waiting: {_code(reason)}" if reason else "Waiting"


def _commit(version: Version) -> str:
    short = version.commit_sha[:_SHA_LENGTH]
    serves = version.state is DeploymentState.ACTIVE and version.url is not None
    return _link(version.url, f"`{short}`") if serves else f"`{short}`"


def _logs(where: str) -> str:
    is_address = where.startswith(("http://", "https://"))
    return _link(where, "Logs") if is_address else _code(where)


def _link(address: str | None, label: str | None) -> str:
    return "" if address is None else f"[{label}]({address})"


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _code(said: str) -> str:
    """As code in a cell of a table: one line, in which a bar has to be escaped even so."""
    line = " ".join(said.replace("`", "'").split())
    line = line if len(line) <= _DETAIL_LENGTH else f"{line[: _DETAIL_LENGTH - 1]}…"
    return "`" + line.replace("|", "\\|") + "`"
