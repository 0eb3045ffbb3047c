"""The house rules hold for the whole repository, and each is seen to fail where it should."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.support import house_rules
from tests.support.house_rules import BODY_LINES, FILE_LINES

ROOT = Path(__file__).parents[2]
_GENERATED = (".lock", ".ico", ".png", ".woff2")
_MIGRATIONS = "db/migrations/versions/"
_TOOLS = {"ruff", "mypy", "import-linter"}

Rule = Callable[[str], list[str]]


@cache
def _texts() -> dict[str, str]:
    """Every text file of the repository by its path."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for path in house_rules.files(ROOT)
        if path.suffix not in _GENERATED
    }


def _python(*, product: bool = False) -> dict[str, str]:
    """Our Python; the examples are other people's."""
    others = ("examples/", "tests/") if product else ("examples/",)
    return {
        path: text
        for path, text in _texts().items()
        if path.endswith(".py") and not path.startswith(others)
    }


@cache
def _project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _broken(rule: Rule, texts: dict[str, str]) -> dict[str, list[str]]:
    return {path: found for path, text in texts.items() if (found := rule(text))}


def test_the_whole_repository_is_looked_at() -> None:
    paths = set(_texts())
    assert {"Makefile", ".ci/run", ".gitignore", "compose.yaml", "cli/main.py"} <= paths
    assert not [path for path in paths if ".venv" in path or "__pycache__" in path]


def test_files_are_short() -> None:
    assert _broken(house_rules.too_long, _python()) == {}


def test_function_bodies_are_short() -> None:
    texts = {path: text for path, text in _python().items() if not path.startswith(_MIGRATIONS)}
    assert _broken(house_rules.long_bodies, texts) == {}


def test_names_say_what_is_inside() -> None:
    found = [each for path in _texts() for each in house_rules.vague_name(PurePosixPath(path))]
    assert found == []


def test_only_the_session_commits() -> None:
    assert set(_broken(house_rules.commits, _python(product=True))) == {
        "db/session.py",
        "db/direct.py",  # what the session commits with
    }


def test_log_events_are_static() -> None:
    assert _broken(house_rules.assembled_log_events, _python(product=True)) == {}


def test_what_is_to_be_done_has_an_issue() -> None:
    texts = {path: text for path, text in _texts().items() if "house_rules" not in path}
    assert _broken(house_rules.todo_without_issue, texts) == {}


def test_nothing_names_a_path_of_one_machine() -> None:
    texts = {path: text for path, text in _texts().items() if "house_rules" not in path}
    assert _broken(house_rules.machine_paths, texts) == {}


def test_annotations_are_postponed_everywhere() -> None:
    assert _broken(house_rules.without_future_import, _python()) == {}


def test_import_contracts_watch_every_package() -> None:
    packages = _project()["tool"]["importlinter"]["root_packages"]
    paths = [PurePosixPath(path) for path in _texts()]
    assert house_rules.unlisted_packages(paths, packages) == []
    assert packages == _project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) == set(_project()["tool"]["coverage"]["run"]["source"])


def test_every_group_of_consumers_is_kept_apart() -> None:
    (apart,) = (
        set(contract["modules"])
        for contract in _project()["tool"]["importlinter"]["contracts"]
        if contract["type"] == "independence"
    )
    groups = {
        path.removesuffix("/__init__.py").replace("/", ".")
        for path in _texts()
        if PurePosixPath(path).match("consumers/*/__init__.py")
    }
    assert groups - {"consumers"} == apart


def test_no_installed_distribution_claims_our_names() -> None:
    ours = {*_project()["tool"]["importlinter"]["root_packages"], "web"}
    assert house_rules.claimed_names(metadata.packages_distributions(), ours) == []


def test_tools_are_pinned_and_installed_as_pinned() -> None:
    wanted = [each for each in _project()["dependency-groups"]["dev"] if isinstance(each, str)]
    assert house_rules.unpinned(wanted, _TOOLS) == []
    locked = (ROOT / "requirements" / "dev.lock").read_text()
    for each in wanted:
        assert "==" not in each or f"{each} \\" in locked, each


@pytest.mark.parametrize("lock", sorted(path.name for path in (ROOT / "requirements").iterdir()))
def test_requirements_are_exact_and_name_no_index(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    if lock.endswith(".lock"):
        assert text.count("--hash=sha256:") > 0
        assert house_rules.unlocked(text) == []
    else:
        assert "://" not in text


def _function(body_lines: int) -> str:
    return (
        "def f(\n    a: int,\n    b: int,\n) -> None:\n"
        '    """One.\n\n    Two.\n    """\n' + "    pass\n" * body_lines
    )


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (house_rules.too_long, "\n" * FILE_LINES, "\n" * (FILE_LINES + 1)),
        (house_rules.long_bodies, _function(BODY_LINES), _function(BODY_LINES + 1)),
        (
            house_rules.long_bodies,
            "class C:\n    def f(self) -> None: ...",
            "class C:\n    async def f(self) -> None:\n" + "        await g()\n" * (BODY_LINES + 1),
        ),
        (house_rules.commits, "await session.flush()", "await session.commit()"),
        (house_rules.commits, "git('commit')\ncommit()", "text('COMMIT;')"),
        (
            house_rules.assembled_log_events,
            "_log.info('instance ready', instance_id=id_)\nmessage.error(f'{x}')",
            "_log.info(f'instance {id_} ready')",
        ),
        (house_rules.assembled_log_events, "_log.error('a', b=c)", "_log.error('a %s' % b)"),
        (house_rules.assembled_log_events, "_log.error('a', b=c)", "_log.error('a', b=f'{c}')"),
        (house_rules.assembled_log_events, "_log.error('a', b=c)", "_log.warning(message)"),
        (house_rules.todo_without_issue, "# TODO(#12): later", "x = 1  # TODO: later"),
        (house_rules.todo_without_issue, "mastodon", "# FIXME(me) never"),
        (house_rules.machine_paths, "HOME = '/home/app'", "HOME = '/home/alice'"),
        (house_rules.machine_paths, "the /read/root call", "cd /root/zeitwork"),
        (house_rules.machine_paths, "https://example.org/home/alice", "'/Users/alice/src'"),
        (
            house_rules.without_future_import,
            "from __future__ import annotations\nx = 1",
            "from __future__ import division\nx = 1",
        ),
        (house_rules.without_future_import, "", "import os"),
        (
            house_rules.unlocked,
            "a==1 \\\n    --hash=sha256:00\nb==2 ; os_name == 'nt' \\\n    --hash=sha256:11\n",
            "a==1 \\\n    --hash=sha256:00\nb==2\n",
        ),
        (house_rules.unlocked, "", "a>=1 \\\n    --hash=sha256:00\n"),
        (house_rules.unlocked, "", "--index-url https://example.org/simple\n"),
        (house_rules.unlocked, "", "-i example\n"),
    ],
)
def test_a_planted_violation_is_found(rule: Rule, good: str, bad: str) -> None:
    assert rule(good) == []
    assert len(rule(bad)) == 1 or (rule is house_rules.unlocked and rule(bad))


@pytest.mark.parametrize("name", ["cli/common.py", "db/sql_utils.py", "helpers/a.py", "manager.py"])
def test_a_planted_vague_name_is_found(name: str) -> None:
    assert len(house_rules.vague_name(PurePosixPath(name))) == 1
    assert house_rules.vague_name(PurePosixPath("zeitwork/community.py")) == []


def test_a_planted_package_is_found() -> None:
    paths = [PurePosixPath(path) for path in ("web/app.py", "web/page.html", "setup.py", "db/a.py")]
    assert house_rules.unlisted_packages(paths, ["db"]) == ["web"]


def test_a_planted_distribution_is_found() -> None:
    installed = {"events": ["events-of-others"], "db": ["zeitwork"], "other": ["other"]}
    assert house_rules.claimed_names(installed, ["db", "events"]) == [
        "events-of-others claims events"
    ]


def test_a_planted_loose_tool_is_found() -> None:
    assert house_rules.unpinned(["ruff>=1", "mypy==2"], {"ruff", "mypy"}) == ["ruff"]


def test_caches_and_environments_are_not_the_repositorys(tmp_path: Path) -> None:
    for name in (".venv/a.py", "a/__pycache__/b.pyc", ".ci/run", "a/c.py", ".env", ".gitignore"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {path.relative_to(tmp_path).as_posix() for path in house_rules.files(tmp_path)}
    assert found == {".ci/run", "a/c.py", ".gitignore"}
