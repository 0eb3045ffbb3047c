"""zeitwork.toml: what a repository says of its own build and its own running. Pure.

`docs/reference/zeitwork-toml.md` explains every key.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from consumers.builds import toml_places
from consumers.builds.cron_schedule import check_schedule
from consumers.builds.failures import InvalidZeitworkToml

NAME = "zeitwork.toml"
_POSITION = re.compile(r"(?P<what>.*?) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end.*)\)")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
_MOST_COMPLAINTS = 5
# pydantic would quote the pattern.
_SHAPES = {
    "health_path": "must be a path that starts with /, without blanks",
    "site": "must be a path of letters, digits and ._/@+-",
    "env": "must be a name of letters, digits and _",
}
_NAME_SHAPE = "must be a name of letters, digits, - and _"
# Given by whoever runs the application.
_RESERVED = ("PORT", "HOST", "HOME", "PATH")
_RESERVED_PREFIXES = ("ZEITWORK_", "ZW_")


def _printable(value: str) -> str:
    if _CONTROLS.search(value):
        raise ValueError("holds control characters")
    return value


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not value.isprintable():
        raise ValueError("must be a path below the directory of zeitwork.toml")
    return str(path)


def _free(name: str) -> str:
    if name in _RESERVED or name.startswith(_RESERVED_PREFIXES):
        raise ValueError("is given by the platform and cannot be set here")
    return name


Command = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4096),
    AfterValidator(_printable),
]
Folder = Annotated[str, StringConstraints(max_length=1024), AfterValidator(_inside)]
# Goes into the configuration of the web server, which has a syntax of its own.
Site = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._/@+-]+$", max_length=1024),
    AfterValidator(_inside),
]
Name = Annotated[str, StringConstraints(pattern=_NAME)]
Variable = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$"), AfterValidator(_free)
]
Address = Annotated[str, StringConstraints(pattern=r"^/[\x21-\x7e]*$", max_length=1024)]
Value = Annotated[str, StringConstraints(max_length=32 * 1024), AfterValidator(_printable)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Scaling(_Table):
    """How many instances of the web process.

    Attributes:
        concurrency: requests in flight that one instance is meant for.
    """

    min: int | None = Field(None, ge=0, le=100)
    max: int | None = Field(None, ge=1, le=100)
    concurrency: int | None = Field(None, ge=1, le=10_000)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is more than max ({self.max})")
        return self


class Cron(_Table):
    """A command that runs at set times, in UTC."""

    name: Name
    schedule: Annotated[str, StringConstraints(max_length=200), AfterValidator(check_schedule)]
    command: Command


class ProjectFile(_Table):
    """The whole file; every key may be absent.

    Attributes:
        builder: decides instead of the detection.
        root: the application's directory, relative to the file's.
        site: the folder of static files to serve, relative to the application's directory.
        build: runs after the dependencies are installed, instead of the builder's own build step.
        start: the command of the web process.
        release: runs once for each deployment, before it serves.
        release_timeout_seconds: until the release command is stopped, and has failed.
    """

    builder: Literal["python", "node", "static", "command", "dockerfile"] | None = None
    root: Folder | None = None
    site: Site | None = None
    build: Command | None = None
    start: Command | None = None
    release: Command | None = None
    release_timeout_seconds: int | None = Field(None, ge=1, le=3600)
    health_path: Address | None = None
    region: Name | None = None
    processes: Annotated[dict[Name, Command], Field(max_length=20)] = {}
    env: Annotated[dict[Variable, Value], Field(max_length=200)] = {}
    scaling: Scaling = Scaling()
    crons: Annotated[tuple[Cron, ...], Field(max_length=50, strict=False)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.start is not None and "web" in self.processes:
            raise ValueError("start and processes.web are the same thing; keep one")
        names = [cron.name for cron in self.crons]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two crons are named {twice!r}")
        return self

    @property
    def commands(self) -> dict[str, str]:
        """Start commands by process name."""
        return {**self.processes, **({"web": self.start} if self.start else {})}


def parse(text: str) -> ProjectFile:
    """Understand the file's text.

    Raises:
        InvalidZeitworkToml: it cannot be; the message says where and what to do.
    """
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise InvalidZeitworkToml(f"{_at(1, 1)}: nested too deep. Make it flat.") from error
    except ValueError as error:  # numbers may be too long for int()
        raise _unreadable(text, error) from error
    try:
        return ProjectFile.model_validate(table)
    except ValidationError as error:
        raise _invalid(text, error) from error


def _unreadable(text: str, error: ValueError) -> InvalidZeitworkToml:
    match = _POSITION.fullmatch(str(error))
    what = match["what"] if match else str(error)
    line, column = toml_places.end(text)
    if match and match["line"]:
        line, column = int(match["line"]), int(match["column"])
    return InvalidZeitworkToml(f"{_at(line, column)}: {what}. Correct it to valid TOML.")


def _invalid(text: str, error: ValidationError) -> InvalidZeitworkToml:
    """All mistakes at once, by their place."""
    found = []
    for detail in error.errors(include_url=False):
        path = tuple(part for part in detail["loc"] if part != "[key]")
        place = toml_places.find(text, path)
        found.append((place, f"{_at(*place)}: {_complaint(path, detail)}"))
    return InvalidZeitworkToml("; ".join(said for _, said in sorted(found)[:_MOST_COMPLAINTS]))


def _complaint(path: tuple[int | str, ...], detail: Any) -> str:
    name = toml_places.shown(path)
    if detail["type"] == "extra_forbidden":
        return f"{name} is not a key of {NAME}{_suggestion(path)}"
    if detail["type"] == "missing":
        return f"{name} is missing; add it"
    if detail["type"] == "string_pattern_mismatch":
        return f"{name} {_SHAPES.get(str(path[0]), _NAME_SHAPE)}"
    what = detail["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    return f"{name}: {what}" if name else what


def _suggestion(path: tuple[int | str, ...]) -> str:
    models: dict[str, type[BaseModel]] = {"": ProjectFile, "scaling": Scaling, "crons": Cron}
    known = [*models[str(path[0]) if len(path) > 1 else ""].model_fields]
    return toml_places.suggestion(str(path[-1]), known)


def _at(line: int, column: int) -> str:
    return f"{NAME}, line {line}, column {column}"
