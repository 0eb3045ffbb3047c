"""The house rules that no linter knows, as functions from text to complaints."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

FILE_LINES = 400
BODY_LINES = 60
_VAGUE = re.compile(r"(?:^|_)(?:utils?|commons?|helpers?|managers?|misc)(?:_|$)")
_TODO = re.compile(r"(?:#|//|/\*|--)\s*(?:TODO|FIXME|XXX)\b(?!\(#\d+\))")
# /home/app is where an application lives inside its sandbox, on every machine.
_MACHINE_PATH = re.compile(r"(?<![\w/.])(?:/root\b|/home/(?!app\b)\w+|/Users/\w+|/work/\w+)")
_SQL_COMMIT = re.compile(r"\s*COMMIT\s*;?\s*")
_LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_LOGGERS = frozenset({"_log", "log", "logger", "logging"})
_REQUIREMENT = re.compile(r"^[a-zA-Z0-9]")
_INDEX = re.compile(r"https?://|^\s*(?:-i|-f|--(?:extra-)?index-url|--find-links)\b", re.MULTILINE)
_NOT_OURS = frozenset({"__pycache__", "node_modules", "build", "dist"})


def files(root: Path) -> Iterator[Path]:
    """Every file of the repository; environments, caches and git's own are left out."""
    for path in sorted(root.iterdir()):
        hidden = path.name.startswith(".") and path.is_dir() and path.name != ".ci"
        if hidden or path.name in _NOT_OURS or path.name.endswith(".egg-info"):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files(path)
        elif path.is_file() and path.name not in {".env", ".git"}:  # .git is a file in a worktree
            yield path


def too_long(text: str) -> list[str]:
    lines = text.count("\n")
    return [f"{lines} lines; at most {FILE_LINES}"] if lines > FILE_LINES else []


def long_bodies(text: str) -> list[str]:
    """Functions whose body, without signature and docstring, is too long."""
    return [
        f"{node.name} has a body of {length} lines; at most {BODY_LINES}"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := _body_lines(node)) > BODY_LINES
    ]


def vague_name(path: PurePosixPath) -> list[str]:
    """Names that say nothing about what is inside."""
    return [
        f"{part} says nothing" for part in path.parts if _VAGUE.search(PurePosixPath(part).stem)
    ]


def commits(text: str) -> list[str]:
    """Calls of `.commit()`, and SQL that commits."""
    return [
        f"line {node.lineno} commits"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call)
        and (
            (isinstance(node.func, ast.Attribute) and node.func.attr == "commit")
            or any(isinstance(each, ast.Constant) and _is_commit(each.value) for each in node.args)
        )
    ]


def assembled_log_events(text: str) -> list[str]:
    """Log calls whose event is not a plain string, or that hold an f-string anywhere."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and _is_log_call(node.func)):
            continue
        event = node.args[0] if node.args else None
        plain = isinstance(event, ast.Constant) and isinstance(event.value, str)
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        if not plain or any(isinstance(part, ast.JoinedStr) for part in parts):
            found.append(f"line {node.lineno}: the event is to be static, data goes into fields")
    return found


def todo_without_issue(text: str) -> list[str]:
    return [
        f"line {number}: TODO(#issue) instead of {match[0]}"
        for number, line in enumerate(text.splitlines(), 1)
        if (match := _TODO.search(line))
    ]


def machine_paths(text: str) -> list[str]:
    """Absolute paths that exist on somebody's machine only."""
    return [f"{match[0]} is a path of one machine" for match in _MACHINE_PATH.finditer(text)]


def without_future_import(text: str) -> list[str]:
    tree = ast.parse(text)
    imported = {
        name.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for name in node.names
    }
    only_says = all(isinstance(node, ast.Expr) for node in tree.body)
    return [] if only_says or "annotations" in imported else ["no __future__ import"]


def unlisted_packages(paths: Iterable[PurePosixPath], root_packages: Collection[str]) -> list[str]:
    """Top folders with Python that import-linter does not watch."""
    folders = {path.parts[0] for path in paths if len(path.parts) > 1 and path.suffix == ".py"}
    return sorted(folders - set(root_packages) - {"tests", "examples"})


def claimed_names(installed: Mapping[str, Collection[str]], ours: Collection[str]) -> list[str]:
    """Distributions other than our own that bring a top-level module with one of our names."""
    return [
        f"{distribution} claims {name}"
        for name in sorted(ours)
        for distribution in sorted(set(installed.get(name, ())) - {"zeitwork"})
    ]


def unpinned(requirements: Iterable[str], tools: Collection[str]) -> list[str]:
    """Tools whose new release could break the build of an old commit."""
    pinned = {each.split("==")[0].split("[")[0] for each in requirements if "==" in each}
    return sorted(set(tools) - pinned)


def unlocked(lock: str) -> list[str]:
    """What keeps a lock file from being exact and free of addresses."""
    found = [f"an address: {match[0].strip()}" for match in _INDEX.finditer(lock)]
    for entry in re.split(r"(?<!\\)\n", lock):
        if _REQUIREMENT.match(entry):
            name = entry.split()[0]
            if "==" not in name:
                found.append(f"{name} has no exact version")
            if "--hash=sha256:" not in entry:
                found.append(f"{name} has no hash")
    return found


def _is_commit(value: object) -> bool:
    return isinstance(value, str) and _SQL_COMMIT.fullmatch(value) is not None


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    return ((body[-1].end_lineno or 0) - body[0].lineno + 1) if body else 0


def _is_log_call(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in _LOG_METHODS
        and isinstance(function.value, ast.Name)
        and function.value.id in _LOGGERS
    )
