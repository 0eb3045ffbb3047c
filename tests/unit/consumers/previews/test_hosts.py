"""Hosts of previews are DNS labels, whatever branches are called."""

from __future__ import annotations

import re

import pytest

from consumers.previews.hosts import commit_label, environment_name, preview_labels

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
SLUGS = ["shop", "a", "a" * 63, "a-" * 31 + "a"]
BRANCHES = [
    "feature/x",
    "main",
    "-",
    "///",
    "Ünïcode/Ä",
    "_",
    "x" * 250,
    "UPPER",
    "a" + "-" * 100 + "b",
    "\ud800",
]


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize("branch", BRANCHES)
def test_every_label_is_a_dns_label(slug: str, branch: str) -> None:
    name = environment_name(pull_number=None, branch=branch)
    assert LABEL.fullmatch(name)
    for label in preview_labels(slug, name, key="x"):
        assert LABEL.fullmatch(label), label
    assert LABEL.fullmatch(commit_label(slug, "f" * 40, key=branch))


def test_a_pull_request_has_a_host_that_people_can_guess() -> None:
    name = environment_name(pull_number=42, branch="whatever")
    assert preview_labels("shop", name, key="x")[0] == "shop-pr-42"


def test_branches_that_look_alike_are_apart() -> None:
    names = ["feature/x", "feature-x", "feature_x", "Feature/x", "feature//x"]
    assert len({environment_name(pull_number=None, branch=each) for each in names}) == len(names)


def test_the_label_to_fall_back_on_is_the_previews_own() -> None:
    one, two = (preview_labels("shop", "pr-1", key=key)[1] for key in ("prj_1", "prj_2"))
    assert one != two
    assert {one, two}.isdisjoint({"shop-pr-1"})


def test_each_commit_of_each_preview_has_a_host_of_its_own() -> None:
    labels = {
        commit_label("shop", sha, key=key)
        for sha in ("a" * 40, "a" * 39 + "b")
        for key in ("env_1", "env_2")
    }
    assert len(labels) == 4
