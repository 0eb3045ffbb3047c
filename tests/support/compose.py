"""compose.yaml as Docker Compose reads it: merged, and with its variables filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SERVERS = frozenset({"nats", "postgres", "valkey"})
_VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?:(?P<how>:[?-])(?P<rest>[^}]*))?\})")


class MissingVariable(Exception):
    """A variable that compose.yaml requires has no value; compose would stop here."""


def read() -> dict[str, Any]:
    """compose.yaml, not interpolated."""
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def interpolated(value: Any, env: Mapping[str, str]) -> Any:
    """`value` with `${NAME:?why}`, `${NAME:-default}` and `$$` replaced, at every depth.

    Raises:
        MissingVariable: a required one is absent or empty.
    """
    if isinstance(value, dict):
        return {key: interpolated(each, env) for key, each in value.items()}
    if isinstance(value, list):
        return [interpolated(each, env) for each in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _value(match, env), value)
    return value


def variables(value: Any) -> dict[str, set[str]]:
    """The names that `value` refers to, with how: ":?", ":-" or "" (an empty default)."""
    found: dict[str, set[str]] = {}
    for match in _VARIABLE.finditer(yaml.safe_dump(value, width=10_000)):
        if match["name"]:
            found.setdefault(match["name"], set()).add(match["how"] or "")
    return found


def environment(service: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """What a service's process gets from compose; a name without a value is passed on."""
    said = service.get("environment", {})
    return {
        name: str(interpolated(value, env)) if value is not None else env[name]
        for name, value in said.items()
        if value is not None or name in env
    }


def _value(match: re.Match[str], env: Mapping[str, str]) -> str:
    name, how = match["name"], match["how"]
    if name is None:
        return "$"
    if env.get(name):
        return env[name]
    if how == ":-":
        return str(match["rest"])
    raise MissingVariable(name)
