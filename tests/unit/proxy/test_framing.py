"""Where bodies end, however they are cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import framing
from proxy.framing import BadFraming, BodyReader, ChunkedBody, EndlessBody, LengthBody

_CUTS = st.lists(st.integers(1, 7), min_size=1, max_size=50)


def read(reader: BodyReader, data: bytes, cuts: list[int]) -> tuple[bytes, bytes | None]:
    """Feed in pieces of these sizes, again and again; payload, and what came behind the body."""
    payload = b""
    at = number = 0
    while at < len(data):
        size = cuts[number % len(cuts)]
        piece, rest = reader.feed(data[at : at + size])
        payload += piece
        at, number = at + size, number + 1
        if rest is not None:
            return payload, rest + data[at:]
    return payload, None


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), st.binary(max_size=20), _CUTS)
def test_what_is_chunked_is_read_back_however_it_is_cut(
    pieces: list[bytes], behind: bytes, cuts: list[int]
) -> None:
    wire = b"".join(map(framing.chunk, pieces)) + framing.LAST_CHUNK
    assert read(ChunkedBody(), wire + behind, cuts) == (b"".join(pieces), behind)


@given(st.binary(min_size=1, max_size=100), st.binary(max_size=20), _CUTS)
def test_a_length_ends_where_it_says(body: bytes, behind: bytes, cuts: list[int]) -> None:
    assert read(LengthBody(len(body)), body + behind, cuts) == (body, behind)


@pytest.mark.parametrize(
    "wire",
    [
        b"A\r\n0123456789\r\n0\r\n\r\n",
        b"00a\r\n0123456789\r\n00\r\n\r\n",
        b'a;x;y=z;q="a\\"b;c" ; w = v\r\n0123456789\r\n0;last\r\n\r\n',
        b"a\r\n0123456789\r\n0\r\nX-Sum: \xe4 1\r\nempty:\r\n\r\n",
    ],
)
def test_sizes_extensions_and_trailers_are_understood_and_dropped(wire: bytes) -> None:
    for cuts in ([1], [2], [3], [len(wire)]):
        assert read(ChunkedBody(), wire + b"next", cuts) == (b"0123456789", b"next")


@pytest.mark.parametrize(
    "wire",
    [
        b"g\r\n", b"\r\n", b"0x1\r\n", b"+1\r\n", b"-1\r\n", b" 1\r\n", b"1 \r\n", b"1_0\r\n",
        b"1\n", b"1;\r\n", b"1;a=\r\n", b"1;a\nb\r\n", b'1;a="b\r\n', b"\xb9\r\n",
        b"12345678901234567\r\n", b"1\r\nabcd", b"1\r\na\nx", b"1\r\na\rx",
        b"0\r\nno field\r\n\r\n", b"0\r\n: a\r\n\r\n", b"0\r\na : b\r\n\r\n",
        b"0\r\na: b\n\r\n\r\n", b"0\r\n folded: x\r\n\r\n",
    ],
)  # fmt: skip
def test_broken_chunks_are_refused(wire: bytes) -> None:
    wire += b"\r\n" if wire.endswith(b"1\n") else b""
    for cuts in ([1], [len(wire)]):
        with pytest.raises(BadFraming):
            read(ChunkedBody(), wire, cuts)


def test_lines_that_never_end_are_refused_before_they_cost_memory() -> None:
    for start in (b"1;", b"0\r\nx: "):
        reader = ChunkedBody()
        with pytest.raises(BadFraming):
            read(reader, start + b"a" * 40_000, [512])


def test_a_flood_of_extensions_is_refused() -> None:
    one = b"1;" + b"x" * 1000 + b"\r\na\r\n"
    read(ChunkedBody(), one * 16, [len(one)])
    with pytest.raises(BadFraming, match="extensions"):
        read(ChunkedBody(), one * 17, [len(one)])


def test_a_flood_of_trailers_is_refused() -> None:
    with pytest.raises(BadFraming):
        read(ChunkedBody(), b"0\r\n" + b"x: 1\r\n" * 6000 + b"\r\n", [1000])


def test_an_endless_body_has_no_end() -> None:
    assert EndlessBody().feed(b"0\r\n\r\n") == (b"0\r\n\r\n", None)
