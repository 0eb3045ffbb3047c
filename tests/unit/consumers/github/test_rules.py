"""Which pushes deploy what, and the reasons of those that do not."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.github.rules import Place, Push, Verdict, judge
from consumers.path_filters import Filters
from events.environments import EnvironmentKind

PRODUCTION = Place("env_1", "production", EnvironmentKind.PRODUCTION, "main")
STAGING = Place("env_2", "staging", EnvironmentKind.CUSTOM, "release/*")
PREVIEW = Place("env_3", "pr-1", EnvironmentKind.PREVIEW, "main")
ALL = (PRODUCTION, STAGING, PREVIEW)


def verdict(
    branch: str = "main", *, filters: Filters | None = None, places: Any = ALL, **push: Any
) -> Verdict:
    said = {"ref": f"refs/heads/{branch}", **push}
    return judge(Push(**said), filters or Filters(), places)


@pytest.mark.parametrize(("branch", "deployed"), [("main", [PRODUCTION]), ("release/1", [STAGING])])
def test_an_environment_follows_its_branch_or_pattern(branch: str, deployed: list[Place]) -> None:
    assert verdict(branch) == Verdict(deploys=tuple(deployed))


def test_two_environments_may_follow_one_branch() -> None:
    both = (PRODUCTION, Place("env_9", "demo", EnvironmentKind.CUSTOM, "*"))
    assert verdict(places=both).deploys == both


def test_an_environment_that_is_being_removed_follows_nothing() -> None:
    closing = Place("env_1", "production", EnvironmentKind.PRODUCTION, "main", closing=True)
    assert verdict(places=[closing]).deploys == ()


@pytest.mark.parametrize(
    ("push", "reason"),
    [
        ({"ref": "refs/tags/v1"}, "tags are deployed by hand (zeitwork deploy PROJECT --ref v1)"),
        ({"ref": "refs/notes/x"}, "refs/notes/x is not a branch"),
        ({"late": True}, "a newer push of main came first"),
        ({"late": True, "deleted": True}, "a newer push of main came first"),
        ({"skip_mark": "[skip ci]"}, "the commit message says [skip ci]"),
        (
            {"branch": "dev"},
            "branch dev is not deployed (production follows main; staging follows release/*)",
        ),
        # The rule is what has to change; the mark would only hide that.
        (
            {"branch": "dev", "skip_mark": "[skip ci]"},
            "branch dev is not deployed (production follows main; staging follows release/*)",
        ),
    ],
)
def test_what_deploys_nothing_says_why(push: dict[str, Any], reason: str) -> None:
    assert verdict(**push) == Verdict(why_not=reason)


def test_a_deleted_branch_takes_its_previews_along() -> None:
    assert verdict(deleted=True) == Verdict(
        removes=True, why_not="the push deletes the branch main"
    )


@pytest.mark.parametrize(
    ("filters", "files", "deploys"),
    [
        (Filters(root_directory="web"), ["web/a.js"], True),
        (Filters(root_directory="web"), ["api/a.py"], False),
        (Filters(root_directory="web"), ["webby/a.js"], False),
        (Filters(root_directory="web", include=["shared/**"]), ["shared/a"], True),
        (Filters(root_directory="web", include=["shared/**"]), ["web/a"], False),
        (Filters(exclude=["docs/**", "*.md"]), ["README.md", "docs/x"], False),
        (Filters(exclude=["docs/**"]), ["docs/x", "main.py"], True),
        (Filters(include=["**/*.py"], exclude=["tests/**"]), ["tests/a.py"], False),
        (Filters(include=["**/*.py"], exclude=["tests/**"]), ["tests/a.py", "x.js"], False),
        (Filters(include=["**/*.py"], exclude=["tests/**"]), ["tests/a.py", "x.py"], True),
        (Filters(), ["anything"], True),
        # What is not known may be anything.
        (Filters(root_directory="web", exclude=["**"]), None, True),
        (Filters(root_directory="web", exclude=["**"]), [], True),
    ],
)
def test_paths_decide_when_they_are_known(
    filters: Filters, files: list[str] | None, *, deploys: bool
) -> None:
    found = verdict(filters=filters, files=files)
    assert bool(found.deploys) == deploys
    assert (found.why_not is None) == deploys


def test_the_reason_of_a_path_filter_names_it() -> None:
    root = verdict(filters=Filters(root_directory="web"), files=["api/a", "api/b"])
    assert root.why_not == "none of the 2 changed files matches web/**"
    out = verdict(filters=Filters(exclude=["*.md"]), files=["README.md"])
    assert out.why_not == "all 1 changed files match the excluded paths"


def test_a_branch_without_an_environment_may_make_a_preview() -> None:
    filters = Filters(preview_branches=["feature/**", "main"])
    assert verdict("feature/x", filters=filters) == Verdict(previews=True)
    assert verdict("main", filters=filters) == Verdict(deploys=(PRODUCTION,))
    other = verdict("dev", filters=filters)
    assert other.why_not is not None
    assert other.why_not.endswith("previews are made of feature/**, main)")
