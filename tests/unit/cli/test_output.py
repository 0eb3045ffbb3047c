from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from rich.console import Console
from typing_extensions import override

from cli import output
from zeitwork import clock


def rendered(value: str, *, terminal: bool = True) -> str:
    console = Console(force_terminal=terminal, color_system="standard" if terminal else None)
    with console.capture() as captured:
        console.print(output.text(value), end="", soft_wrap=True)
    return captured.get()


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("fix [/bold] and [link=x]", "fix [/bold] and [link=x]"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]52;c;cm0gLXJm\x1b\\clipboard", "clipboard"),
        ("\x1b[2J\x1b[Hclear", "clear"),
        ("\x1b[6nreport", "report"),
        ("\x1bcreset", "reset"),
        ("\x1b(0charset", "charset"),
        ("\x9b2Jc1", "2Jc1"),
        ("over\rwrite\x08\x07", "overwrite"),
        ("cut off \x1b[", "cut off "),
        ("cut off \x1b]0;title", "cut off "),
        ("tabs\tstay", "tabs    stay"),
        ("größer 🚀", "größer 🚀"),
    ],
)
def test_foreign_text_cannot_act_on_the_terminal(hostile: str, shown: str) -> None:
    found = rendered(hostile)
    assert "\x1b" not in found
    assert found == shown


def test_colours_pass_to_a_terminal_and_not_to_a_file() -> None:
    line = "\x1b[31mred\x1b[0m plain"
    assert rendered(line) == "\x1b[31mred\x1b[0m plain"
    assert rendered(line, terminal=False) == "red plain"


def test_a_hostile_cell_or_fact_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(["A"], [["[/red]"]], empty="")
    output.facts({"Commit": "[bold", "Absent": None})
    shown = capsys.readouterr().out
    assert "[/red]" in shown
    assert "Commit  [bold" in shown
    assert "Absent" not in shown


def test_rows_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    wide = ["x" * 120, "y" * 120]
    output.table(["A", "B"], [wide], empty="")
    assert "  ".join(wide) in capsys.readouterr().out


def test_an_empty_table_says_what_to_do_beside_the_data(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output.table(["A"], [], empty="Create one: zeitwork projects create NAME")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "Create one: zeitwork projects create NAME\n")


def test_json_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.emit_json({"text": "two\nlines\x1b[2J", "when": clock.now()})
    shown = capsys.readouterr().out
    assert shown.count("\n") == 1
    assert "\x1b" not in shown
    assert json.loads(shown)["text"] == "two\nlines\x1b[2J"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-5, "0s ago"), (59, "59s ago"), (60, "1m ago"), (7_199, "1h ago"), (172_800, "2d ago")],
)
def test_ages_are_rounded_down(seconds: int, shown: str) -> None:
    now = clock.now()

    class Still(clock.SystemClock):
        @override
        def now(self) -> datetime:
            return now

    with clock.using(Still()):
        assert output.age((now - timedelta(seconds=seconds)).isoformat()) == shown
    assert output.age(None) == "-"


def test_progress_without_a_terminal_prints_each_new_text_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with output.progress("Deploying …") as status:
        for text in ("Building …", "Building …", "Deploying …"):
            status.update(text)
    assert capsys.readouterr().err.splitlines() == ["Deploying …", "Building …", "Deploying …"]
