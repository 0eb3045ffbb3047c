"""Pages of lists."""

from __future__ import annotations

from pydantic import BaseModel

from producers.api.pages import page


class Item(BaseModel):
    id: str


def items(count: int) -> list[Item]:
    return [Item(id=str(number)) for number in range(count)]


def test_a_full_page_may_have_a_next_one() -> None:
    assert page(items(3), limit=3, cursor="2").next == "2"


def test_a_page_with_room_is_the_last() -> None:
    assert page(items(2), limit=3, cursor="1").next is None


def test_no_items_are_a_page() -> None:
    empty = page(items(0), limit=3, cursor=None)
    assert empty.model_dump() == {"items": [], "next": None}
