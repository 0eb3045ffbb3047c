"""Control groups: found in any layout, limited, and named where the host has none."""

from __future__ import annotations

from pathlib import Path

from zeitwork import cgroups
from zeitwork.cgroups import Limits, create, hierarchy, left

LIMITS = Limits(memory_bytes=1 << 30, cpus=1.5, processes=64)


def folder(path: Path, **files: str) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def written(path: Path) -> dict[str, str]:
    return {each.name: each.read_text() for each in path.iterdir() if each.is_file()}


def test_version_1_has_a_group_in_each_hierarchy_below_our_own(tmp_path: Path) -> None:
    for name in ("memory/own", "cpu", "pids", "unified"):
        folder(tmp_path / name)
    own = "4:memory:/own\n3:pids:/\n2:cpu,cpuacct:/\n1:name=systemd:/\n0::/\n"
    found = hierarchy(own, root=tmp_path)
    group = create("bld", LIMITS, within=found)
    assert (group.lacks, found.reason) == ((), "")
    assert written(tmp_path / "memory/own/zeitwork/bld") == {"memory.limit_in_bytes": str(1 << 30)}
    assert written(tmp_path / "cpu/zeitwork/bld") == {
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
    }
    assert written(tmp_path / "pids/zeitwork/bld") == {"pids.max": "64"}
    assert tmp_path / "unified/zeitwork/bld" in group.folders
    assert set(left("bld", within=found).folders) == set(group.folders)


def test_in_a_container_the_root_that_it_sees_is_its_own(tmp_path: Path) -> None:
    for name in ("memory", "cpu", "pids"):
        folder(tmp_path / name)
    own = "".join(f"1:{name}:/docker/0123\n" for name in ("memory", "cpu", "pids"))
    assert hierarchy(own, root=tmp_path).parents["memory"] == tmp_path / "memory"


def test_version_2_makes_its_groups_beside_ours_in_a_delegated_parent(tmp_path: Path) -> None:
    folder(tmp_path, cgroup__controllers="cpu memory pids")
    unit = folder(tmp_path / "unit", cgroup__subtree_control="cpu memory pids")
    folder(unit / "main")
    folder(unit / "zeitwork", cgroup__controllers="cpu memory pids")
    folder(unit / "zeitwork/bld", memory__swap__max="max")
    group = create("bld", LIMITS, within=hierarchy("0::/unit/main\n", root=tmp_path))
    assert group.lacks == ()
    assert group.folders == (unit / "zeitwork/bld",)
    assert written(unit / "zeitwork/bld") == {
        "cpu.max": "150000 100000",
        "memory.max": str(1 << 30),
        "memory.swap.max": "0",
        "pids.max": "64",
    }
    enabled = (unit / "zeitwork/cgroup.subtree_control").read_text().split()
    assert sorted(enabled) == ["+cpu", "+memory", "+pids"]


def test_what_is_not_delegated_is_named(tmp_path: Path) -> None:
    folder(tmp_path, cgroup__controllers="cpu memory pids")
    unit = folder(tmp_path / "unit", cgroup__subtree_control="pids")
    folder(unit / "main")
    group = create("bld", LIMITS, within=hierarchy("0::/unit/main\n", root=tmp_path))
    assert group.lacks == ("memory", "cpu")
    assert group.reason == "not delegated: memory, cpu"


def test_a_process_in_the_root_has_no_parent_to_share(tmp_path: Path) -> None:
    folder(tmp_path, cgroup__controllers="cpu memory pids")
    group = create("bld", LIMITS, within=hierarchy("0::/\n", root=tmp_path))
    assert group.lacks == ("memory", "cpu", "pids")
    assert group.reason == "this process has no group of its own"
    assert group.entered(["true"]) == ["true"]


def test_kills_for_want_of_memory_are_counted_in_both_versions(tmp_path: Path) -> None:
    old = folder(tmp_path / "1", memory__oom_control="under_oom 0\noom_kill 3\n")
    new = folder(tmp_path / "2", memory__events="oom 5\noom_kill 2\n")
    assert cgroups.Group((old,)).out_of_memory == 3
    assert cgroups.Group((new,)).out_of_memory == 2
    assert cgroups.Group(()).out_of_memory == 0
