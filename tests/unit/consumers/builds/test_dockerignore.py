"""`.dockerignore`: the last rule that matches decides."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.builds import dockerignore
from consumers.builds.globs import Pattern
from zeitwork.errors import BuildFailed


@pytest.mark.parametrize(
    ("rules", "hidden", "kept"),
    [
        ("", (), ("a", "a/b")),
        ("# a\n\n  \n", (), ("a", "# a")),
        ("a", ("a", "a/b", "a/b/c"), ("b/a", "ab")),
        ("/a/", ("a", "a/b"), ("b/a",)),
        ("./a/../b", ("b",), ("a",)),
        ("*.key", ("x.key",), ("deep/x.key", "x.keys")),
        ("*/x", ("a/x",), ("x", "a/b/x")),
        ("**/x", ("x", "a/x", "a/b/x", "a/x/y"), ("ax", "a/xy")),
        ("a/**", ("a/b", "a/b/c"), ("a", "b")),
        ("**", ("a", "a/b"), ()),
        ("a?c", ("abc",), ("a/c", "ac")),
        ("[a-c]x", ("ax", "cx"), ("dx", "[a-c]x")),
        ("[^a]x", ("bx",), ("ax", "/x")),
        (r"\*", ("*",), ("a",)),
        ("a.b", ("a.b",), ("axb",)),
        ("a\n!a/b", ("a", "a/c"), ("a/b", "a/b/c")),
        ("!a\na", ("a",), ()),
        ("*\n!kept\nkept/not", ("x", "kept/not"), ("kept", "kept/x")),
        ("a\r\nb\r\n", ("a", "b"), ("c",)),
    ],
)
def test_a_path_is_hidden_or_kept(
    rules: str, hidden: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    ignored = dockerignore.parse(rules)
    assert [path for path in hidden if path not in ignored] == []
    assert [path for path in kept if path in ignored] == []


@pytest.mark.parametrize("rule", ["[", "[a", "x\\", "[z-a]"])
def test_what_is_no_pattern_is_named_with_its_line(rule: str) -> None:
    with pytest.raises(BuildFailed, match=r"^\.dockerignore, line 2: .* is not a pattern\."):
        dockerignore.parse(f"a\n{rule}\n")


@given(st.text("ab*/?[]^-\\\\!# \n", max_size=40), st.text("ab/", min_size=1, max_size=20))
def test_any_text_is_understood_or_refused(rules: str, path: str) -> None:
    with contextlib.suppress(BuildFailed):
        assert (path in dockerignore.parse(rules)) in {True, False}


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/", "?"]), max_size=6).map("".join),
    st.text("ab/", max_size=8),
)
def test_it_matches_as_dockers_own_expressions_do(pattern: str, path: str) -> None:
    said = re.sub(r"\*{3,}", "**", pattern)
    parts = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    expression = re.sub(r"\*\*/|\*\*|\*|\?", lambda found: parts[found[0]], said)
    assert Pattern(said).matches(path) == bool(re.fullmatch(expression, path))


@pytest.mark.parametrize("rule", ["*a" * 60, "**/" * 60, "**a" * 60, "*" * 900, "[a*]" * 200])
def test_a_pattern_cannot_make_it_hang(rule: str) -> None:
    assert "a" * 2000 not in dockerignore.parse(f"{rule}b")
    assert "a/" * 1000 + "c" not in dockerignore.parse(f"{rule}b")
