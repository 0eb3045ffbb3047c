from __future__ import annotations

import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from cli.ports import Claims, Port, PortPicker
from zeitwork.errors import HostUnsupported


def picker(*taken: int, reserved: range = range(0)) -> PortPicker:
    return PortPicker(reserved=reserved, free=lambda port, _host: port not in taken)


def test_the_wanted_port_is_taken_when_it_is_free() -> None:
    port = picker().pick("api", 8080)
    assert port == Port("api", 8080, 8080)
    assert not port.moved


def test_the_next_free_port_replaces_a_taken_one() -> None:
    port = picker(8080, 8081).pick("api", 8080)
    assert (port.got, port.moved) == (8082, True)


def test_two_services_never_get_the_same_port() -> None:
    chosen = picker(9080)
    assert [chosen.pick(name, 9080).got for name in ("api", "node", "proxy")] == [9081, 9082, 9083]


def test_the_ports_of_instances_are_left_alone() -> None:
    assert picker(19_999, reserved=range(20_000, 30_000)).pick("api", 19_999).got == 30_000


def test_it_gives_up_after_a_hundred_ports_and_at_the_end_of_the_range() -> None:
    asked: list[int] = []

    def none_free(port: int, _host: str) -> bool:
        asked.append(port)
        return False

    with pytest.raises(HostUnsupported, match="no port for api is free from 8080"):
        PortPicker(free=none_free).pick("api", 8080)
    assert asked == list(range(8080, 8180))
    asked.clear()
    with pytest.raises(HostUnsupported):
        PortPicker(free=none_free).pick("api", 65_530)
    assert asked[-1] == 65_535


def test_a_port_that_another_process_claims_is_left_to_it(tmp_path: Path) -> None:
    claims = tmp_path / "claims"
    code = (
        "import sys; from pathlib import Path; from cli.ports import Claims; "
        "print(Claims(Path(sys.argv[1])).claim(5432), flush=True); sys.stdin.read()"
    )
    other = Popen([sys.executable, "-c", code, str(claims)], stdin=PIPE, stdout=PIPE)
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        mine = PortPicker(free=lambda _port, _host: True, claim=Claims(claims).claim)
        assert mine.pick("postgres", 5432).got == 5433
        other.kill()
    later = PortPicker(free=lambda _port, _host: True, claim=Claims(claims).claim)
    assert later.pick("postgres", 5432).got == 5432


def test_a_link_in_place_of_a_claim_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "5432").symlink_to(tmp_path / "elsewhere")
    assert Claims(tmp_path).claim(5432)
    assert not (tmp_path / "elsewhere").exists()
