"""Ids: TypeIDs that sort by time and survive the way to a UUID and back."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeitwork import clock, ids
from zeitwork.errors import InvalidInput
from zeitwork.ids import Prefix

UUIDS = st.uuids()


@given(st.sampled_from(list(Prefix)), UUIDS)
def test_text_and_uuid_are_the_same_thing(prefix: Prefix, value: UUID) -> None:
    text = ids.from_uuid(prefix, value)
    assert ids.to_uuid(prefix, text) == value
    assert text.startswith(f"{prefix}_")
    assert len(text) == len(prefix) + 1 + 26


@pytest.mark.parametrize(
    ("suffix", "uuid"),
    [  # from the TypeID specification's valid.yml
        ("00000000000000000000000000", "00000000-0000-0000-0000-000000000000"),
        ("00000000000000000000000001", "00000000-0000-0000-0000-000000000001"),
        ("0000000000000000000000000a", "00000000-0000-0000-0000-00000000000a"),
        ("0000000000000000000000000g", "00000000-0000-0000-0000-000000000010"),
        ("00000000000000000000000010", "00000000-0000-0000-0000-000000000020"),
        ("7zzzzzzzzzzzzzzzzzzzzzzzzz", "ffffffff-ffff-ffff-ffff-ffffffffffff"),
        ("0123456789abcdefghjkmnpqrs", "0110c853-1d09-52d8-d73e-1194e95b5f19"),
        ("01h455vb4pex5vsknk084sn02q", "01890a5d-ac96-774b-bcce-b302099a8057"),
    ],
)
def test_the_encoding_is_that_of_the_specification(suffix: str, uuid: str) -> None:
    assert ids.from_uuid(Prefix.PROJECT, UUID(uuid)) == f"prj_{suffix}"
    assert ids.to_uuid(Prefix.PROJECT, f"prj_{suffix}") == UUID(uuid)


@given(UUIDS, UUIDS)
def test_texts_sort_as_their_uuids(one: UUID, other: UUID) -> None:
    texts = [ids.from_uuid(Prefix.BUILD, value) for value in (one, other)]
    assert (texts[0] < texts[1]) == (one < other)


def test_new_ids_sort_by_time() -> None:
    fake = clock.FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
    made = []
    with clock.using(fake):
        for _ in range(50):
            made.append(ids.new(Prefix.EVENT))
            fake.advance(0.001)
    assert made == sorted(made)


def test_new_ids_are_uuids_of_version_seven() -> None:
    values = {ids.to_uuid(Prefix.EVENT, ids.new(Prefix.EVENT)) for _ in range(1000)}
    assert len(values) == 1000
    assert {(value.version, value.variant) for value in values} == {
        (7, "specified in RFC 4122"),
    }


def test_a_new_id_holds_its_time() -> None:
    moment = datetime(2026, 3, 4, 5, 6, 7, 89000, tzinfo=UTC)
    with clock.using(clock.FakeClock(moment)):
        value = ids.new_uuid()
    assert value.int >> 80 == int(moment.timestamp() * 1000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dep",
        "dep_",
        "dep_01h455vb4pex5vsknk084sn02",  # one short
        "dep_01h455vb4pex5vsknk084sn02qq",  # one long
        "dep_01H455VB4PEX5VSKNK084SN02Q",  # upper case
        "dep_81h455vb4pex5vsknk084sn02q",  # more than 128 bits
        "dep_01h455vb4pex5vsknk084sn02u",  # not in the alphabet
        "dep_01h455vb4pex5vsknk084sn02٣",  # a digit elsewhere
        "bld_01h455vb4pex5vsknk084sn02q",  # another kind
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_what_is_no_id_of_this_kind_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="dep_"):
        ids.to_uuid(Prefix.DEPLOYMENT, text)


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_refused(text: str) -> None:
    try:
        value = ids.to_uuid(Prefix.NODE, text)
    except InvalidInput:
        return
    assert ids.from_uuid(Prefix.NODE, value) == text


def test_prefixes_are_distinct_short_words() -> None:
    assert len({str(prefix) for prefix in Prefix}) == len(Prefix)
    assert all(len(prefix) == 3 and prefix.islower() for prefix in Prefix)


def test_tokens_are_long_and_differ() -> None:
    tokens = {ids.token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) >= 43 for token in tokens)
    assert len(ids.token(4)) < len(ids.token(32))
