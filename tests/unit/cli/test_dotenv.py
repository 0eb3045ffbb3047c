"""Files of variables, as they are found in the wild."""

from __future__ import annotations

import pytest

from cli import dotenv
from zeitwork.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=two words\n", {"A": "1", "B": "two words"}),
        ("\ufeffA=1\r\n\r\n# comment\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("export A=1 # why\nB=x#y\n", {"A": "1", "B": "x#y"}),
        ("A='$x \\n # no'\n", {"A": "$x \\n # no"}),
        ('A="one\\ntwo \\"q\\" \\$x \\\\"\n', {"A": 'one\ntwo "q" $x \\'}),
        ('KEY="-----BEGIN\nabc\n-----END"\nB=2', {"KEY": "-----BEGIN\nabc\n-----END", "B": "2"}),
        ("A=\nB= \nC=''\n", {"A": "", "B": "", "C": ""}),
        ("A=# only a comment\n", {"A": ""}),
        (" A = 1 \n", {"A": "1"}),
        ("A=postgres://u:p@h/d?x=1&y=2", {"A": "postgres://u:p@h/d?x=1&y=2"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("", {}),
    ],
)
def test_what_a_file_sets(text: str, expected: dict[str, str]) -> None:
    assert dotenv.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["A=1\nsecret text\n", "A=1\n'B'=secret\n", 'A=1\nB="secret\n', "A=1\nB='secret' x\n"]
)
def test_a_line_that_is_not_understood_is_named_but_not_repeated(text: str) -> None:
    with pytest.raises(InvalidInput, match="Line 2 ") as raised:
        dotenv.parse(text)
    assert "secret" not in raised.value.message
