"""Sealing: what is sealed for one row opens only there, under any key of the ring."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from zeitwork import sealing
from zeitwork.errors import InvalidSettings, SealBroken, SealKeyMissing
from zeitwork.sealing import KeyRing, Sealed

ROW = ("variables", "var_1", "prj_1")
OLD, NEW = sealing.new_key(), sealing.new_key()


@given(st.binary(max_size=200))
def test_a_value_opens_where_it_was_sealed(plain: bytes) -> None:
    ring = KeyRing([NEW])
    sealed = ring.seal(plain, bound_to=ROW)
    assert ring.open(sealed, bound_to=ROW) == plain
    assert len(plain) < 4 or plain not in sealed.content


def test_the_first_key_seals_and_every_key_opens() -> None:
    before = KeyRing([OLD]).seal(b"value", bound_to=ROW)
    ring = KeyRing([NEW, OLD])
    assert ring.open(before, bound_to=ROW) == b"value"
    after = ring.seal(b"value", bound_to=ROW)
    assert (before.key_id, after.key_id) == (OLD.id, NEW.id)
    assert KeyRing([NEW]).open(after, bound_to=ROW) == b"value"


@pytest.mark.parametrize(
    "elsewhere",
    [
        ("variables", "var_1", "prj_2"),
        ("variables", "var_2", "prj_1"),
        ("variables", "var_1prj_1"),
        ("variables", "var_1", "prj_1", ""),
    ],
    ids=["other project", "other row", "words run together", "a word more"],
)
def test_a_value_does_not_open_elsewhere(elsewhere: tuple[str, ...]) -> None:
    ring = KeyRing([NEW])
    with pytest.raises(SealBroken) as raised:
        ring.open(ring.seal(b"the value", bound_to=ROW), bound_to=elsewhere)
    assert "the value" not in raised.value.message


def test_a_change_of_any_byte_is_noticed() -> None:
    ring = KeyRing([NEW])
    sealed = ring.seal(b"value", bound_to=ROW)
    for place in range(len(sealed.content)):
        content = bytearray(sealed.content)
        content[place] ^= 1
        with pytest.raises(SealBroken):
            ring.open(Sealed(sealed.key_id, bytes(content)), bound_to=ROW)
    for length in (0, 11, 12, 27):
        with pytest.raises(SealBroken):
            ring.open(Sealed(sealed.key_id, sealed.content[:length]), bound_to=ROW)


def test_a_key_that_is_not_there_is_asked_for_by_its_id() -> None:
    sealed = KeyRing([OLD]).seal(b"value", bound_to=ROW)
    with pytest.raises(SealKeyMissing, match=OLD.id):
        KeyRing([NEW]).open(sealed, bound_to=ROW)
    with pytest.raises(SealKeyMissing, match="ZEITWORK_SECRET_KEYS"):
        KeyRing([]).seal(b"value", bound_to=ROW)


def test_equal_values_are_sealed_differently() -> None:
    ring = KeyRing([NEW])
    assert len({ring.seal(b"value", bound_to=ROW).content for _ in range(100)}) == 100


def test_a_ring_is_read_from_its_setting() -> None:
    assert sealing.parse(SecretStr(f" {NEW.text}, {OLD.text},")) == [NEW, OLD]
    standard = base64.b64encode(OLD.secret).decode()
    assert sealing.parse(SecretStr(f"{OLD.id}:{standard}")) == [OLD]
    assert sealing.parse(SecretStr("")) == []


@pytest.mark.parametrize(
    "text",
    [
        "no-colon",
        "id:c2hvcnQ",
        "id:not base64!",
        f"BAD ID:{'A' * 43}",
        f"a:{'A' * 43},a:{'B' * 43}",
    ],
)
def test_a_bad_ring_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidSettings) as raised:
        sealing.parse(SecretStr(text))
    assert "AAAA" not in raised.value.message
    assert "not base64" not in raised.value.message


def test_a_key_does_not_show_itself() -> None:
    assert NEW.text.partition(":")[2] not in repr(NEW)
    assert str(NEW.secret) not in repr(NEW)
