"""The build log: plain text, no passwords, bounded however much is printed."""

from __future__ import annotations

import pytest

from consumers.builds.transcript import Transcript, coloured, plain
from events.builds import Stream
from tests.support.builds import Lines
from zeitwork.errors import BuildFailed
from zeitwork.logs import masked
from zeitwork.masking import Masking


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "Looking in https://ann:pw@pip.example/simple",
            "Looking in https://***@pip.example/simple",
        ),
        ("https://token@h/x and http://u:p@i/y", "https://***@h/x and http://***@i/y"),
        ("https://u:p@ss@h/x", "https://***@h/x"),
        ("git+ssh://git:pw@h/x", "git+ssh://***@h/x"),
        ("'https://u:p@h/x'", "'https://***@h/x'"),
        ("PIP_INDEX_URL=https://u:p@h", "PIP_INDEX_URL=https://***@h"),
        ("https://h/x@1.0.0", "https://h/x@1.0.0"),
        ("mail ann@h.example about https://h/x", "mail ann@h.example about https://h/x"),
    ],
)
def test_credentials_in_addresses_are_masked(said: str, shown: str) -> None:
    assert masked(said) == shown
    assert plain(said) == coloured(said) == shown


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[1;32mok\x1b[0m", "ok"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;https://h\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("a\x00b\x08c\x7fd\ud800e", "abcde"),
        ("tab\tstays", "tab\tstays"),
        ("https://u:\x1b[0mp@h", "https://***@h"),
    ],
)
def test_a_line_becomes_plain_text(printed: str, shown: str) -> None:
    assert plain(printed) == shown


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("\x1b[1;32mok\x1b[0m", "\x1b[1;32mok\x1b[0m"),
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("10%\r\x1b[38:5:12m100%", "\x1b[38:5:12m100%\x1b[0m"),
        ("\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[32mtext", "\x1b[32mtext\x1b[0m"),
        ("\x1b[\x00m a \x1b", "[m a "),
        ("https://u:\x1b[0mp@h", "https://***@h"),
    ],
)
def test_colours_stay_and_nothing_else_that_steers_a_terminal(printed: str, shown: str) -> None:
    assert coloured(printed) == shown


def test_a_long_line_is_cut_only_after_its_passwords_are_masked() -> None:
    line = "x" * 1990 + " https://ann:password@h"
    assert plain(line).endswith(" https://*")
    assert coloured(f"\x1b[1m{line}").endswith(" https://*")


def test_our_own_lines_are_masked_too() -> None:
    lines = Lines()
    transcript = Transcript(lines)
    transcript.step("Fetching https://u:pw@h/x")
    transcript.say("from https://u:pw@h/x")
    assert lines == ["==> Fetching https://***@h/x", "    from https://***@h/x"]
    assert transcript.current == "Fetching https://***@h/x"


def test_a_flood_is_cut_and_its_last_line_still_known() -> None:
    lines = Lines()
    transcript = Transcript(lines)
    for number in range(250_000):
        transcript.output(f"line {number}")
    transcript.output("fatal: no space")
    transcript.output("\x1b[0m")
    transcript.say("ours")
    assert len(lines) == 200_002
    assert lines[-2].endswith("the rest is not shown.")
    assert lines[-1] == "    ours"
    assert lines.streams[-3:] == [Stream.STDOUT, Stream.PLATFORM, Stream.PLATFORM]
    assert [*transcript.tail][-2:] == ["fatal: no space", ""]


@pytest.mark.parametrize("line", ["", "x" * 16_384])
def test_output_without_end_stops_the_build(line: str) -> None:
    transcript = Transcript(lambda _text, _stream: None)
    with pytest.raises(BuildFailed, match="printed too much"):  # noqa: PT012 - some line does it
        for _ in range(600_000):
            transcript.output(line)


def test_values_are_masked_over_lines_in_errors_and_before_a_line_is_cut() -> None:
    lines = Lines()
    secret = "correct-horse-battery-staple"
    transcript = Transcript(lines, masking=Masking([secret]))
    transcript.output("key correct-horse-")
    transcript.output("battery-staple and more")
    transcript.say(f"$ login {secret}")
    transcript.output("x" * 1990 + secret)
    transcript.output(f"last {secret[:20]}")
    transcript.output(secret[20:])
    transcript.end_output()
    assert lines == [
        "    key ***",
        "    *** and more",
        "    $ login ***",
        "    " + "x" * 1990 + "***",
        "    last ***",
        "    ***",
    ]
    assert transcript.tail[-1] == "***"


def test_lines_keep_their_order_when_one_was_held_back() -> None:
    lines = Lines()
    transcript = Transcript(lines, masking=Masking(["correct-horse"]))
    transcript.output("it is correct")
    transcript.step("Next")
    transcript.output("and")
    assert lines == ["    it is correct", "==> Next", "    and"]


def test_colours_go_where_a_value_is_masked_and_stay_elsewhere() -> None:
    lines = Lines()
    transcript = Transcript(lines, masking=Masking(["correct-horse"]))
    transcript.output("\x1b[32mcorrect-\x1b[1mhorse\x1b[0m is the word")
    transcript.output("\x1b[32mfine\x1b[0m")
    assert lines == ["    *** is the word", "    \x1b[32mfine\x1b[0m"]


def test_a_value_is_found_in_each_stream_though_they_are_mixed() -> None:
    lines = Lines()
    transcript = Transcript(lines, masking=Masking(["correct-horse-battery"]))
    transcript.output("correct-horse-")
    transcript.output("a warning", Stream.STDERR)
    transcript.output("battery")
    transcript.end_output()
    assert not any("horse" in line or "battery" in line for line in lines)
    assert "    a warning" in lines
