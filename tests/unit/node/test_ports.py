"""Which port an instance gets. The operating system is asked, but nothing is sent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.ports import Ports
from zeitwork.errors import HostUnsupported


@pytest.fixture
def range_() -> Iterator[tuple[int, int]]:
    """Three ports in a row that are free now, below those for outgoing connections."""
    for lowest in range(11_000, 19_000, 3):
        with socket.socket() as first, socket.socket() as second, socket.socket() as third:
            try:
                for port, trial in enumerate((first, second, third), lowest):
                    trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield lowest, lowest + 2
        return


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "last-port"


def test_no_port_is_leased_twice(range_: tuple[int, int], memory: Path) -> None:
    ports = Ports(*range_, memory=memory)
    assert [ports.lease() for _ in range(3)] == [*range(range_[0], range_[1] + 1)]
    with pytest.raises(HostUnsupported, match="PORT_RANGE"):
        ports.lease()


def test_a_port_that_was_given_back_comes_last(range_: tuple[int, int], memory: Path) -> None:
    lowest, _ = range_
    ports = Ports(*range_, memory=memory)
    ports.release(ports.lease())
    assert [ports.lease() for _ in range(3)] == [lowest + 1, lowest + 2, lowest]


def test_the_next_agent_goes_on_where_the_last_one_stopped(
    range_: tuple[int, int], memory: Path
) -> None:
    lowest, _ = range_
    Ports(*range_, memory=memory).lease()
    assert [Ports(*range_, memory=memory).lease() for _ in range(3)] == [
        lowest + 1, lowest + 2, lowest,
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"eleven", b"70000", b"-4"])
def test_a_useless_memory_is_no_obstacle(
    range_: tuple[int, int], memory: Path, content: bytes
) -> None:
    memory.write_bytes(content)
    lowest, highest = range_
    assert lowest <= Ports(*range_, memory=memory).lease() <= highest


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_somebody_listens_on_is_passed_over(
    range_: tuple[int, int], memory: Path, address: str
) -> None:
    lowest, _ = range_
    with socket.create_server((address, lowest)):
        assert Ports(*range_, memory=memory).lease() == lowest + 1


def test_the_port_of_an_adopted_instance_is_kept(range_: tuple[int, int], memory: Path) -> None:
    lowest, _ = range_
    ports = Ports(*range_, memory=memory)
    ports.keep(lowest)
    assert ports.lease() == lowest + 1
