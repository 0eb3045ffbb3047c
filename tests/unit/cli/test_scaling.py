"""Which processes `zeitwork up --scale` starts, and what it refuses."""

from __future__ import annotations

import re

import pytest

from cli import assembly, scaling
from cli.ports import Port
from cli.scaling import MOST_REPLICAS, SERVICES, UNSCALED, Process
from cli.serve import chosen
from consumers.registry import GROUPS
from zeitwork.config import Settings
from zeitwork.errors import InvalidInput


def names(*scale: str) -> list[str]:
    return [each.name for each in scaled(*scale)]


def scaled(*scale: str) -> tuple[Process, ...]:
    return scaling.processes(scaling.parse(scale, groups=GROUPS), groups=GROUPS)


def test_without_a_scale_each_service_is_one_process() -> None:
    assert scaled() == UNSCALED
    assert names() == list(SERVICES)
    assert all(each.groups == () for each in scaled())


def test_a_scaled_group_leaves_the_others() -> None:
    assert names("builds=2", "routing=1") == [
        "api",
        "consumers",
        "consumers-builds-1",
        "consumers-builds-2",
        "consumers-routing-1",
        "proxy",
        "node",
    ]


@pytest.mark.parametrize("scale", [["builds=3"], [f"{group}=1" for group in GROUPS]])
def test_every_group_is_handled_somewhere_and_only_there(scale: list[str]) -> None:
    homes = {
        group: {re.sub(r"-\d+$", "", each.name) for each in scaled(*scale) if group in each.groups}
        for group in GROUPS
    }
    assert all(len(home) == 1 for home in homes.values()), homes
    assert all(each.groups for each in scaled(*scale) if each.service == "consumers")


def test_nothing_stays_behind_when_every_group_is_scaled() -> None:
    assert "consumers" not in names(*(f"{group}=1" for group in GROUPS))


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (["builds=0"], "unhandled"),
        (["builds=-1"], "unhandled"),
        (["builds"], "GROUP=COUNT"),
        (["builds="], "GROUP=COUNT"),
        (["builds=many"], "GROUP=COUNT"),
        (["builds=1.5"], "GROUP=COUNT"),
        (["builds=٣"], "GROUP=COUNT"),
        (["=3"], "GROUP=COUNT"),
        ([""], "GROUP=COUNT"),
        (["nonsense=2"], "no group nonsense"),
        (["api=2"], "no group api"),
        (["builds=2", "builds=3"], "twice"),
        ([f"builds={MOST_REPLICAS + 1}"], "at most 16"),
        ([f"builds={MOST_REPLICAS}", "routing=1"], "at most 16"),
        (["builds=999999999"], "at most 16"),
    ],
)
def test_what_there_cannot_be_is_refused(scale: list[str], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        scaling.parse(scale, groups=GROUPS)


def test_each_replica_is_asked_on_a_port_of_its_own_and_told_its_group() -> None:
    processes = scaled("builds=2")
    ports = {
        name: Port(name, number, number)
        for number, name in enumerate(["api", "proxy", *(f"{each.name} ops" for each in processes)])
    }
    specs = {each.name: each for each in assembly.services(Settings(), ports, processes)}
    first, second = specs["consumers-builds-1"], specs["consumers-builds-2"]
    assert first.argv[-4:] == ("serve", "consumers", "--only", "builds")
    assert first.ready_url != second.ready_url
    for spec in specs.values():
        (port,) = spec.env.values()
        assert f":{port}/readyz" in spec.ready_url
    assert "builds" not in specs["consumers"].argv[-1].split(",")


def test_replicas_do_not_want_the_ports_of_the_services() -> None:
    ports = assembly.choose_ports(Settings(), scaled("builds=3"))
    wanted = [each.wanted for each in ports.values()]
    assert len(set(wanted)) == len(wanted)
    assert len({each.got for each in ports.values()}) == len(ports)
    plain = assembly.choose_ports(Settings())
    assert {name: each.wanted for name, each in plain.items()} == {
        name: ports[name].wanted for name in plain
    }


@pytest.mark.parametrize(
    ("only", "groups"),
    [
        (["builds"], ("builds",)),
        (["routing,builds"], ("builds", "routing")),
        (["routing", "builds"], ("builds", "routing")),
        (["builds, routing"], ("builds", "routing")),
        (["builds,builds", "builds"], ("builds",)),
    ],
)
def test_groups_are_taken_once_each_however_they_are_named(
    only: list[str], groups: tuple[str, ...]
) -> None:
    assert chosen(only, GROUPS) == groups


@pytest.mark.parametrize("only", [["builds,nonsense"], ["builds,"], [""], ["all"]])
def test_a_group_that_is_not_there_is_refused(only: list[str]) -> None:
    with pytest.raises(InvalidInput, match="There is no group"):
        chosen(only, GROUPS)
