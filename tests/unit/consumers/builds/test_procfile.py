"""Procfiles as people write them."""

from __future__ import annotations

import pytest

from consumers.builds import procfile


@pytest.mark.parametrize(
    ("text", "processes"),
    [
        ("web: gunicorn app:app", {"web": "gunicorn app:app"}),
        ("web:gunicorn app:app --bind :$PORT", {"web": "gunicorn app:app --bind :$PORT"}),
        ("web : serve", {"web": "serve"}),
        ("\ufeffweb: serve\r\nworker: work\r\n", {"web": "serve", "worker": "work"}),
        ("# web: no\nweb: yes", {"web": "yes"}),
        ("web: a\nweb: b", {"web": "b"}),
        ("web: serve # the site", {"web": "serve"}),
        ("web: serve --colour '#fff'", {"web": "serve --colour '#fff'"}),
        ('web: serve "a # b" # c', {"web": 'serve "a # b"'}),
        ("web: serve a#b \\# c", {"web": "serve a#b \\# c"}),
        ("web: sh -c 'a: b'", {"web": "sh -c 'a: b'"}),
        ("web:", {}),
        ("web:   # nothing", {}),
        ("", {}),
    ],
)
def test_a_procfile_is_understood(text: str, processes: dict[str, str]) -> None:
    parsed = procfile.parse(text)
    assert parsed.processes == processes
    assert parsed.web == processes.get("web")
    assert parsed.ignored == ()


def test_lines_that_declare_nothing_are_named() -> None:
    parsed = procfile.parse("web: serve\njust words\nwéb: x\n: y")
    assert parsed.web == "serve"
    assert parsed.ignored == ("just words", "wéb: x", ": y")
