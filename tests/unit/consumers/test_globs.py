"""What patterns of branches and paths describe."""

from __future__ import annotations

import pytest

from consumers.globs import any_matches, matches


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("main", "main"),
        ("feature/*", "feature/x"),
        ("feature/**", "feature/x/y"),
        ("**", "a/b/c"),
        ("**/*.py", "setup.py"),
        ("**/*.py", "a/b/setup.py"),
        ("web/**/test", "web/test"),
        ("web/**/test", "web/a/b/test"),
        ("r?l-*", "rel-"),
        ("*-*-*", "a--b"),
        ("**/**/x", "x"),
    ],
)
def test_a_pattern_describes(pattern: str, text: str) -> None:
    assert matches(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("main", "main2"),
        ("main", "Main"),
        ("main", "x/main"),
        ("feature/*", "feature/x/y"),
        ("feature/*", "feature"),
        ("feature/**", "feature"),
        ("docs/**", "docs2/a"),
        ("*.py", "a/b.py"),
        ("web/**/test", "web/a/b"),
        ("r?l", "r/l"),
        ("[ab]", "a"),
        ("a.c", "abc"),
        ("", "main"),
    ],
)
def test_a_pattern_does_not_describe(pattern: str, text: str) -> None:
    assert not matches(pattern, text)


def test_a_hostile_pattern_ends() -> None:
    """A regular expression of it would take longer than the test may."""
    assert not matches("*a" * 60 + "b", "a" * 1000)
    assert not matches("/".join(["**", "a"] * 40) + "/b", "/".join("a" * 200))


def test_one_of_several_is_enough() -> None:
    assert any_matches(["docs/**", "*.md"], "README.md")
    assert not any_matches([], "README.md")
