"""Which event classes the code of a package makes or names, found by reading it."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from events.event import REGISTRY, Event

PACKAGES: Final = {"api": "producers", "consumers": "consumers", "node": "node"}
# `db` can say these and nobody asks it to yet.
UNUSED: Final[frozenset[type[Event]]] = frozenset()


@cache
def made_in(package: str) -> frozenset[type[Event]]:
    """Events whose class is called, so that one comes into being."""
    return frozenset(
        event
        for names, tree in _modules(package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (event := _event(names, node.func)) is not None
    )


@cache
def named_in(package: str) -> frozenset[type[Event]]:
    """Events whose class appears at all."""
    return frozenset(
        event
        for names, tree in _modules(package)
        for node in ast.walk(tree)
        if (event := _event(names, node)) is not None
    )


def _modules(package: str) -> Iterator[tuple[dict[str, Any], ast.AST]]:
    root = importlib.import_module(package)
    for info in pkgutil.walk_packages(root.__path__, f"{package}."):
        if info.name.startswith("db.migrations"):
            continue
        module = importlib.import_module(info.name)
        assert module.__file__ is not None
        with open(module.__file__, encoding="utf-8") as file:  # noqa: PTH123
            yield vars(module), ast.parse(file.read())


def _event(names: dict[str, Any], node: ast.AST) -> type[Event] | None:
    """The event class that an expression names; `facts.BuildStarted` or `BuildStarted`."""
    match node:
        case ast.Name(id=name):
            found = names.get(name)
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            found = getattr(names.get(module), name, None)
        case _:
            return None
    known = isinstance(found, type) and issubclass(found, Event) and found in REGISTRY.values()
    return found if known else None
