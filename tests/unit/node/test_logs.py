"""What is shipped of what instances print: bounded in every way, and without URL passwords."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typing_extensions import override

from events import subjects
from events.bus import Message
from events.memory import MemoryBus
from events.streams import LOGS
from node.logs import LogShipper, tail
from zeitwork.errors import BrokerUnavailable
from zeitwork.masking import MASK, Masking

BATCH = 64 * 1024
MOST = 5 * 1024 * 1024


class World:
    """One instance's log and what was shipped of it."""

    def __init__(self, run: Path, bus: MemoryBus | None = None) -> None:
        self.run = run
        self.log = run / "output.log"
        self.bus = bus or MemoryBus()
        self.shipper = LogShipper(self.bus)

    def print(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    def bodies(self) -> list[bytes]:
        return [each.data for each in self.bus.stored(LOGS.name, subjects.log("instance", "ins_1"))]

    def lines(self) -> list[str]:
        return [line["line"] for body in self.bodies() for line in json.loads(body)["lines"]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.shipper.watch("ins_1", tmp_path, masking=Masking())
    return world


async def test_whole_lines_are_shipped_once_and_a_part_waits(world: World) -> None:
    world.print(b"one\ntwo\nthr")
    await world.shipper.ship()
    await world.shipper.ship()
    assert world.lines() == ["one", "two"]
    world.print(b"ee\n")
    await world.shipper.ship()
    assert world.lines() == ["one", "two", "three"]


async def test_what_was_printed_before_the_watch_is_not_repeated(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.print(b"of an earlier agent\n")
    world.shipper.watch("ins_1", tmp_path, masking=Masking())
    world.print(b"new\n")
    await world.shipper.ship()
    assert world.lines() == ["new"]


async def test_a_restart_loses_none_of_the_last_words(world: World) -> None:
    world.print(b"Traceback\n")
    world.shipper.watch("ins_1", world.run, masking=Masking())
    world.print(b"start again\n")
    await world.shipper.ship()
    assert world.lines() == ["Traceback", "start again"]


async def test_the_end_ships_the_rest_and_a_line_without_end(world: World) -> None:
    world.print(b"x" * 70 + b"\n")
    world.print(b"y\n" * BATCH + b"bye")
    await world.shipper.unwatch("ins_1")
    assert world.lines()[-2:] == ["y", "bye"]
    assert len(world.lines()) == BATCH + 2
    world.print(b"after\n")
    await world.shipper.ship()
    assert world.lines()[-1] == "bye"


async def test_a_line_that_never_ends_does_not_hold_up_the_log(world: World) -> None:
    world.print(b"a" * (2 * BATCH) + b"\nnext\n")
    for _ in range(3):
        await world.shipper.ship()
    assert world.lines()[-1] == "next"
    assert max(map(len, world.lines())) == 8_000


@pytest.mark.parametrize(
    "data", [b"\n" * BATCH, b"\x00" * BATCH, b"\xff" * BATCH, "\N{FIRE}".encode() * (BATCH // 4)]
)
async def test_no_message_is_larger_than_its_stream_takes(world: World, data: bytes) -> None:
    world.print(data)
    await world.shipper.ship()
    assert world.bodies()  # the bus refuses larger ones
    assert max(map(len, world.bodies())) <= LOGS.max_msg_size


async def test_a_flood_is_cut_and_the_gap_is_named(world: World) -> None:
    world.print(b"0123456789abcde\n" * (2 * MOST // 16))
    await world.shipper.ship()
    skipped = 2 * MOST - BATCH
    assert world.lines()[-1].startswith(f"[{skipped} bytes skipped: ")
    assert world.log.stat().st_size == 0
    assert (world.run / "output.1.log").stat().st_size == MOST
    world.print(b"after the flood\n")
    await world.shipper.ship()
    assert world.lines()[-1] == "after the flood"


async def test_a_long_log_that_was_shipped_starts_anew_in_silence(world: World) -> None:
    chunks = MOST // BATCH + 1
    for _ in range(chunks):
        world.print(b"0123456789abcde\n" * (BATCH // 16))
        await world.shipper.ship()
    assert world.log.stat().st_size == 0
    assert set(world.lines()) == {"0123456789abcde"}
    assert len(world.lines()) == chunks * BATCH // 16


async def test_a_broker_that_is_away_costs_lines_but_not_the_shipper(tmp_path: Path) -> None:
    class Away(MemoryBus):
        away = True

        @override
        async def publish(self, messages: object) -> None:
            if self.away:
                raise BrokerUnavailable("away")
            assert isinstance(messages, list)
            await super().publish([each for each in messages if isinstance(each, Message)])

    bus = Away()
    world = World(tmp_path, bus)
    world.shipper.watch("ins_1", tmp_path, masking=Masking())
    world.print(b"lost\n")
    await world.shipper.ship()
    bus.away = False
    world.print(b"found\n")
    await world.shipper.ship()
    assert world.lines() == ["found"]


async def test_an_instance_that_prints_nothing_has_no_log(world: World) -> None:
    await world.shipper.ship()
    await world.shipper.unwatch("ins_1")
    await world.shipper.unwatch("ins_1")
    assert world.bodies() == []
    assert tail(world.run, masking=Masking()) == ""


async def test_passwords_in_urls_are_masked_where_it_is_told(world: World) -> None:
    said = b"cannot reach postgres://shop:hunter2@db.internal/shop and https://ann@host/\n"
    world.print(said)
    await world.shipper.ship()
    shown = "cannot reach postgres://***@db.internal/shop and https://***@host/"
    assert world.lines() == [shown]
    assert tail(world.run, masking=Masking()) == shown
    assert world.log.read_bytes() == said


def test_the_tail_is_the_last_ten_lines(world: World) -> None:
    world.print("".join(f"line {number}\n" for number in range(30)).encode())
    assert tail(world.run, masking=Masking()).splitlines() == [
        f"line {number}" for number in range(20, 30)
    ]


def test_the_tail_of_endless_output_is_its_end(world: World) -> None:
    world.print(b"a" * 100_000 + b"the end")
    assert tail(world.run, masking=Masking()).endswith("the end")
    assert len(tail(world.run, masking=Masking())) <= 3 * 1024


async def test_values_are_masked_also_when_they_are_printed_bit_by_bit(tmp_path: Path) -> None:
    world = World(tmp_path)
    masking = Masking(["correct horse battery staple"])
    world.shipper.watch("ins_1", tmp_path, masking=masking)
    for part in (b"key: correct horse\n", b"battery sta", b"ple\nnext\nlast correct horse batt"):
        world.print(part)
        await world.shipper.ship()
    assert world.lines() == [f"key: {MASK}", MASK, "next"]
    world.print(b"ery staple")
    await world.shipper.unwatch("ins_1")
    assert world.lines() == [f"key: {MASK}", MASK, "next", f"last {MASK}"]
    assert "horse" not in tail(world.run, masking=masking)


def test_a_value_that_begins_before_the_tail_is_masked_in_it(world: World) -> None:
    value = "".join(f"{number:04d}" for number in range(2000))
    world.print(f"{value}\nthe end\n".encode())
    assert tail(world.run, masking=Masking([value])).strip("*\n") == "the end"
