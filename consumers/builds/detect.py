"""Which builder a repository is for, why, and what nearly matched. Pure.

A Dockerfile comes first, where images are built: who wrote it has said it all. Python comes before
Node, Node before static files: a Django project with a package.json for its
style sheets is a Django project, and a Node project with an index.html is a Node project.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from consumers.builds.failures import DockerfileUnsupported
from consumers.builds.listing import PYTHON_MODULES, Listing
from consumers.builds.project_file import NAME, ProjectFile
from zeitwork.errors import BuildFailed, NothingDetected

Kind = Literal["python", "node", "static", "command", "dockerfile"]

WEB_ROOTS = ("", "public", "dist")
_MAIN_FILES = (*(f"{name}.py" for name in PYTHON_MODULES), "manage.py")
_FOREIGN = {
    "go.mod": "Go is not supported yet",
    "Gemfile": "Ruby is not supported yet",
    "Cargo.toml": "Rust is not supported yet",
    "composer.json": "PHP is not supported yet",
    "deno.json": "Deno is not supported yet",
}
_DOCKERFILE = "Dockerfile"
_ADVICE = (
    "Add requirements.txt or pyproject.toml (Python), package.json (Node), or index.html "
    "(static files) to the root directory; if the application lives in a folder, set it as the "
    f"project's root directory; for anything else, say `build` and `start` in {NAME}."
)
_ENGINE_MISSING = (
    "a Dockerfile was found but no Docker Engine; set ZEITWORK_CONSUMERS__DOCKER_ENGINE"
)
_NO_ENGINE = (
    f"{_ENGINE_MISSING} to have it built, or add what one of the other builders needs: "
    "requirements.txt or pyproject.toml (Python), package.json (Node), index.html (static files), "
    f"or `build` and `start` in {NAME}."
)


@dataclass(frozen=True, slots=True)
class Detection:
    """The verdict: `because` explains it, `nearly` lists what spoke for something else."""

    kind: Kind
    because: str
    nearly: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        return (f"{self.kind}: {self.because}", *self.nearly)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """Attributes: `add` says what would make the rule match."""

    matches: bool
    reason: str
    add: str = ""

    @property
    def whole_reason(self) -> str:
        return f"{self.reason}; {self.add}" if self.add else self.reason


def detect(
    listing: Listing,
    file: ProjectFile = ProjectFile(),  # noqa: B008 - frozen
    *,
    engine: bool = False,
) -> Detection:
    """Decide; `engine` says whether there is a Docker Engine to build images.

    Raises:
        NothingDetected: no rule matches; the message says what nearly did and what to add.
        DockerfileUnsupported: only a Dockerfile does.
        BuildFailed: pyproject.toml cannot be parsed.
    """
    if file.builder == "dockerfile" and not engine:
        raise DockerfileUnsupported(f"{NAME} asks for the dockerfile builder, but {_NO_ENGINE}")
    rules = (_IMAGES, *_RULES) if engine else _RULES
    verdicts = [(kind, verdict) for kind, rule in rules if (verdict := rule(listing))]
    matching = [(kind, verdict) for kind, verdict in verdicts if verdict.matches]
    found: tuple[Kind, str] | None = None
    rank = "comes first"
    if file.builder is not None:
        found, rank = (file.builder, f"{NAME} names it as builder"), "is named as builder"
    elif matching:
        kind, verdict = matching[0]
        found = (kind, verdict.reason)
    elif file.start is not None:
        found = ("command", f"{NAME} says how it is started, and no other builder recognises it")
    nearly = [
        f"not {kind}: {verdict.reason}, but {found[0]} {rank}"
        if verdict.matches and found
        else f"not {kind}: {verdict.whole_reason}"
        for kind, verdict in verdicts
        if found is None or kind != found[0]
    ]
    nearly += [f"{name} is ignored: {why}" for name, why in _FOREIGN.items() if name in listing]
    if found is None:
        raise _nothing(listing, nearly)
    if _DOCKERFILE in listing and not engine:
        nearly.append(f"Dockerfile is ignored: {_ENGINE_MISSING}")
    return Detection(*found, tuple(nearly))


def web_root(listing: Listing) -> str | None:
    """The folder whose index.html is the site's; "" is the root itself."""
    return next((root for root in WEB_ROOTS if _index(root) in listing), None)


def project_table(listing: Listing) -> dict[str, Any]:
    """pyproject.toml as a table; empty when absent.

    Raises:
        BuildFailed: it is not valid TOML.
    """
    try:
        return tomllib.loads(listing.text("pyproject.toml"))
    except (ValueError, RecursionError) as error:  # numbers may be too long for int()
        raise BuildFailed(f"pyproject.toml is not valid TOML: {error}") from error


def package_table(listing: Listing) -> dict[str, Any]:
    """package.json as a table; empty when absent.

    Raises:
        BuildFailed: it is not a JSON object.
    """
    try:
        table = json.loads(listing.text("package.json") or "{}")
    except (ValueError, RecursionError) as error:
        raise BuildFailed(f"package.json is not valid JSON: {error}") from error
    if not isinstance(table, dict):
        raise BuildFailed("package.json must hold a JSON object")
    return table


def describes_project(table: dict[str, Any]) -> bool:
    """Whether a pyproject table describes an application, not only settings of tools."""
    tools = table.get("tool")
    poetry = isinstance(tools, dict) and "poetry" in tools
    return "project" in table or "build-system" in table or poetry


def _dockerfile(listing: Listing) -> _Verdict | None:
    if _DOCKERFILE in listing:
        return _Verdict(matches=True, reason="Dockerfile is present")
    return None


def _python(listing: Listing) -> _Verdict | None:
    if "requirements.txt" in listing:
        return _Verdict(matches=True, reason="requirements.txt is present")
    only_tools = False
    if "pyproject.toml" in listing:
        if describes_project(project_table(listing)):
            return _Verdict(matches=True, reason="pyproject.toml describes a project")
        only_tools = True
    if main := listing.first(*_MAIN_FILES):
        if "package.json" in listing:
            reason = f"{main} is present, but without requirements.txt package.json decides"
            return _Verdict(matches=False, reason=reason)
        return _Verdict(matches=True, reason=f"{main} is present")
    if only_tools:
        reason = "pyproject.toml holds only settings of tools; a [project] table is missing"
        return _Verdict(matches=False, reason=reason, add="add one, or requirements.txt")
    if other := listing.first("Pipfile", "setup.py", "setup.cfg", "environment.yml"):
        reason = f"{other} is present, but only requirements.txt and pyproject.toml are understood"
        return _Verdict(matches=False, reason=reason, add="add one of them")
    if source := next((name for name in sorted(listing.files) if _top(name, ".py")), None):
        reason = f"{source} is present, but neither requirements.txt nor main.py"
        return _Verdict(matches=False, reason=reason, add="add one of them")
    return None


def _node(listing: Listing) -> _Verdict | None:
    if "package.json" in listing:
        return _Verdict(matches=True, reason="package.json is present")
    hints = ("server.js", "index.js", "package-lock.json", "yarn.lock", "pnpm-lock.yaml")
    if other := listing.first(*hints):
        return _Verdict(
            matches=False,
            reason=f"{other} is present, but no package.json",
            add="add one with a start script",
        )
    return None


def _static(listing: Listing) -> _Verdict | None:
    root = web_root(listing)
    if root is not None:
        return _Verdict(matches=True, reason=f"{_index(root)} is present")
    for folder in ("build", "docs", "site", "www", "_site", "out"):
        if _index(folder) in listing:
            reason = f"{_index(folder)} is present; set {folder} as the root directory to serve it"
            return _Verdict(matches=False, reason=reason)
    if page := next((name for name in sorted(listing.files) if _top(name, ".html")), None):
        return _Verdict(
            matches=False,
            reason=f"{page} is present, but no index.html",
            add="rename it, or add one",
        )
    return None


def _index(root: str) -> str:
    return f"{root}/index.html" if root else "index.html"


def _top(name: str, suffix: str) -> bool:
    return "/" not in name and name.endswith(suffix)


def _nothing(listing: Listing, nearly: list[str]) -> NothingDetected:
    if _DOCKERFILE in listing:
        return DockerfileUnsupported(f"No other builder recognises this repository: {_NO_ENGINE}")
    if not listing.files:
        return NothingDetected(f"The root directory holds no files. {_ADVICE}")
    marks = ("requirements.txt", "pyproject.toml", "package.json", "index.html")
    folders = sorted(
        {
            name.rpartition("/")[0]
            for name in listing.files
            if name.count("/") == 1 and name.endswith(marks)
        }
    )
    parts = ["No builder recognises this repository."]
    if nearly:
        parts.append(f"Nearly: {'; '.join(nearly)}.")
    if folders:
        parts.append(f"Folders that look like applications: {', '.join(folders[:5])}.")
    return NothingDetected(" ".join([*parts, _ADVICE]))


_Rule = tuple[Kind, Callable[[Listing], _Verdict | None]]
_IMAGES: _Rule = ("dockerfile", _dockerfile)
_RULES: tuple[_Rule, ...] = (
    ("python", _python),
    ("node", _node),
    ("static", _static),
)
