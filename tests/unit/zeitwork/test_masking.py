"""Masking: no form of a value comes through, however the text is cut; all else comes through."""

from __future__ import annotations

import base64
import itertools
import json
import re
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeitwork.masking import LEAST_CHARACTERS, MASK, Masking

SECRET = "s3cr3t/va+lue?of the=tests"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQ\nzq3Vf8LxE0aXk2m4Yt\n-----END KEY-----\n"

_values = st.text(string.printable[:-2], min_size=LEAST_CHARACTERS, max_size=40).filter(
    lambda value: len("".join(value.split())) >= LEAST_CHARACTERS
)
_noise = st.text(alphabet=string.ascii_letters + string.digits + " \n=/+-", max_size=30)


def _through(masking: Masking, text: str, cuts: list[int]) -> str:
    stream = masking.stream()
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    chunks = [text[a:b] for a, b in itertools.pairwise(edges)]
    return "".join(stream.feed(chunk) for chunk in chunks) + stream.flush()


def _joined(text: str) -> str:
    return "".join(text.split())


@given(_values, _noise, _noise, st.lists(st.integers(0, 200), max_size=6))
def test_no_value_comes_through_whatever_the_chunks(
    value: str, before: str, after: str, cuts: list[int]
) -> None:
    shown = _through(Masking([value]), before + value + after, cuts)
    assert MASK in shown
    assert _joined(value) not in _joined(shown.replace(MASK, "\0"))


@given(_values, st.lists(st.integers(1, 39), min_size=1, max_size=3))
def test_no_value_comes_through_when_it_is_folded_into_indented_lines(
    value: str, folds: list[int]
) -> None:
    plain = _joined(value)
    edges = sorted({0, len(plain), *(fold % len(plain) for fold in folds)})
    lines = [f"    {plain[a:b]}\n" for a, b in itertools.pairwise(edges)]
    stream = Masking([value]).stream()
    shown = "".join(map(stream.feed, lines)) + stream.flush()
    assert plain not in _joined(shown)
    # All but what was shown at the end of the first line has become a mask.
    left = _joined(shown).replace(MASK, "")
    assert len(left) <= 3 * len(lines)
    assert shown.count("\n") == len(lines)


@given(_values, st.binary(max_size=5), st.binary(max_size=5), st.integers(8, 76))
def test_no_value_comes_through_in_base64_at_any_alignment_and_width(
    value: str, before: bytes, after: bytes, width: int
) -> None:
    encoded = base64.b64encode(before + value.encode() + after).decode()
    folded = "\n".join(encoded[at : at + width] for at in range(0, len(encoded), width))
    for form in (folded, folded.replace("+", "-").replace("/", "_")):
        shown = _joined(_through(Masking([value]), form + "\n", [3, 11]))
        kept = shown.replace(MASK, "")
        # A letter at each edge holds bits of the neighbours as well.
        assert len(kept) <= len(base64.b64encode(before)) + len(base64.b64encode(after)) + 4 + 3


@given(st.text(alphabet=string.ascii_letters + " \n\t\r", max_size=300), st.lists(st.integers(0)))
def test_text_without_a_value_comes_through_unchanged(text: str, cuts: list[int]) -> None:
    assert _through(Masking(["0123456789", "9876543210"]), text, cuts) == text


@given(st.text(alphabet="ab\n ", max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_chunks_make_no_difference_to_what_is_left(text: str, cuts: list[int]) -> None:
    # Values that overlap themselves and each other, the hardest to cut.
    masking = Masking(["aaabaaab", "abaabaab", "bbbbbbbbbb"])
    whole = masking.redact(text)
    assert _stars_apart(_through(masking, text, cuts)) == _stars_apart(whole)


def _stars_apart(text: str) -> str:
    """Runs of masks are one; where a run is cut is not fixed."""
    return re.sub(r"\*+", "*", text)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        re.sub("%..", lambda found: found[0].lower(), quote(SECRET, safe="")),
        json.dumps({"value": SECRET}),
    ],
)
def test_a_value_is_masked_in_each_form_that_programs_print(form: str) -> None:
    shown = Masking([SECRET]).redact(f"before {form} after")
    assert MASK in shown
    assert "s3cr3t" not in shown
    assert "tests" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


def test_a_file_of_several_lines_is_masked_whole_and_line_by_line() -> None:
    masking = Masking([PEM])
    assert masking.redact(f"key:\n{PEM}end\n") == f"key:\n{MASK}\n{MASK}\n{MASK}\n{MASK}\nend\n"
    assert masking.redact("    zq3Vf8LxE0aXk2m4Yt\n") == f"    {MASK}\n"
    assert masking.redact(json.dumps({"key": PEM})) == '{"key": "***"}'


def test_a_long_value_is_masked_in_pieces() -> None:
    value = "".join(f"{number:05d}" for number in range(5000))
    masking = Masking([value])
    assert set(masking.redact(value)) == {"*"}
    assert set(masking.redact(value[256 * 4 : 256 * 8])) == {"*"}


def test_values_that_overlap_are_masked_to_the_last_letter() -> None:
    assert Masking(["abcdefgh", "efghijkl"]).redact("-abcdefghijkl-") == f"-{MASK}-"


def test_a_short_value_within_the_beginning_of_a_long_one_is_masked_at_the_end() -> None:
    stream = Masking(["abcdefghijkl", "abcdef"]).stream()
    assert stream.feed("abcdef") == ""
    assert stream.flush() == MASK


def test_lines_are_not_held_back_for_a_letter_that_begins_a_value() -> None:
    stream = Masking(["secret-value"]).stream()
    assert stream.feed("processes\n") == "processes\n"
    assert stream.feed("ecret-value\n") == f"{MASK}\n"  # its first letter is gone, no more


def test_what_is_held_back_is_bounded() -> None:
    value = "x" * 10_000
    stream = Masking([value]).stream()
    given_, shown = 0, 0
    for _ in range(100):
        given_ += 5_000
        shown += len(stream.feed("xxxx\n" * 1_000))
    assert len(stream._kept) < 9_000
    assert shown > 0
    gaps = Masking(["abcdefgh"]).stream()
    gaps.feed("abcdef")
    for _ in range(100):
        gaps.feed("\n" * 1_000)
    assert len(gaps._kept) < 9_000


@pytest.mark.parametrize("value", ["", "true", "8080", "     \n   "])
def test_short_and_blank_values_leave_the_output_alone(value: str) -> None:
    text = f"a {value} b\n    c\n"
    assert Masking([value]).redact(text) == text
    assert not Masking([value])
