"""What every builder does alike: plan without acting, then act only inside the application."""

from __future__ import annotations

import asyncio
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from consumers.builds import listing
from consumers.builds.builders import Builder
from consumers.builds.declared import Declared
from consumers.builds.listing import Listing
from consumers.builds.pack import Limits, pack
from consumers.builds.plan import Command, Plan
from consumers.builds.transcript import Transcript
from consumers.builds.workshop import Workshop
from tests.support.builds import Lines, alive_with, why_no_sandbox
from tests.support.eventually import eventually
from zeitwork import ids
from zeitwork.errors import BuildCommandFailed, BuildFailed

Files = Mapping[str, str | bytes]


class Bench:
    """A directory with an application, and the workshop to build it in."""

    def __init__(self, root: Path, *, sandboxed: bool) -> None:
        self.root = root
        self.app = root / "app"
        self.lines = Lines()
        for name in ("app", "home", "cache", "layers"):
            (root / name).mkdir()
        self.workshop = Workshop(
            app=self.app,
            home=root / "home",
            cache=root / "cache",
            layers=root / "layers",
            build_id=f"bld-{ids.token(9)}",
            sandboxed=sandboxed,
            memory_mib=1024,
            timeout_seconds=45,
            transcript=Transcript(self.lines),
        )

    def fill(self, files: Files) -> Listing:
        for name, content in files.items():
            path = self.app / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return listing.read(self.app)

    async def digest(self) -> str:
        archive = self.root / "archive"
        await pack(self.app, archive, limits=Limits())
        return hashlib.sha256(archive.read_bytes()).hexdigest()

    def outside(self) -> set[Path]:
        """Everything beside the application, except the cache and the home of installers."""
        own = tuple(self.root / name for name in ("app", "home", "cache", "layers"))
        return {
            path
            for path in self.root.rglob("*")
            if not any(path.is_relative_to(folder) for folder in own)
        }


class BuilderContract:
    """Subclasses give `builder`, and `files`, an application that it builds without a network.

    Attributes:
        declared: what the application says of itself.
    """

    declared: ClassVar[Declared] = Declared()

    @pytest.fixture(params=["sandboxed", "plain"])
    async def bench(self, request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
        sandboxed = request.param == "sandboxed"
        if sandboxed and (reason := await why_no_sandbox(tmp_path)):
            pytest.skip(f"no sandbox on this host: {reason}")
        return Bench(tmp_path, sandboxed=sandboxed)

    def plan(self, builder: Builder, files: Files, declared: Declared | None = None) -> Plan:
        texts = {name: text for name, text in files.items() if isinstance(text, str)}
        return builder.plan(Listing(frozenset(files), texts), declared or self.declared)

    def test_a_plan_depends_on_the_listing_alone(self, builder: Builder, files: Files) -> None:
        assert self.plan(builder, files) == self.plan(builder, dict(reversed([*files.items()])))

    def test_a_plan_says_how_the_web_process_starts_and_why(
        self, builder: Builder, files: Files
    ) -> None:
        plan = self.plan(builder, files)
        assert plan.processes["web"]
        assert any(line.startswith("web: ") for line in plan.notes)
        assert builder.name

    def test_a_web_command_of_the_procfile_decides(self, builder: Builder, files: Files) -> None:
        declared = Declared({"web": "serve-it", "worker": "work"})
        assert self.plan(builder, files, declared).processes == declared.processes

    def test_other_commands_of_the_procfile_stay(self, builder: Builder, files: Files) -> None:
        plan = self.plan(builder, files, Declared({"worker": "work"}))
        assert plan.processes == {**self.plan(builder, files).processes, "worker": "work"}

    def test_a_repository_without_an_application_is_refused(self, builder: Builder) -> None:
        with pytest.raises(BuildFailed):
            builder.plan(Listing(frozenset({"README.md"})), Declared())

    async def test_building_again_gives_the_same_bytes(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        digests = []
        for _ in range(2):
            plan = builder.plan(bench.fill(files), self.declared)
            await builder.build(plan, bench.workshop)
            digests.append(await bench.digest())
            bench.app.rename(bench.root / f"was-{len(digests)}")
            bench.app.mkdir()
        assert digests[0] == digests[1]

    async def test_nothing_is_written_beside_the_application(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        before = bench.outside()
        await builder.build(builder.plan(bench.fill(files), self.declared), bench.workshop)
        assert bench.outside() == before

    async def test_commands_run_in_order_in_the_application(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        plan = self.only(
            builder.plan(bench.fill(files), self.declared),
            Command(("sh", "-c", "echo $COLOUR > first")),
            Command(("mv", "first", "second")),
        )
        await builder.build(replace(plan, build_env={"COLOUR": "red"}), bench.workshop)
        assert (bench.app / "second").read_text() == "red\n"

    async def test_a_failed_command_ends_the_build_and_is_quoted(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        plan = self.only(
            builder.plan(bench.fill(files), self.declared),
            Command(("sh", "-c", "echo because; exit 7")),
            Command(("touch", "never")),
        )
        with pytest.raises(BuildCommandFailed, match=r"exit code 7\. Its last line was: because"):
            await builder.build(plan, bench.workshop)
        assert not (bench.app / "never").exists()

    async def test_a_command_that_may_fail_does_not_end_the_build(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        plan = self.only(
            builder.plan(bench.fill(files), self.declared),
            Command(("false",), if_it_fails="Never mind."),
            Command(("touch", "after")),
        )
        await builder.build(plan, bench.workshop)
        assert "    Exit code 1. Never mind." in bench.lines
        assert (bench.app / "after").exists()

    async def test_a_cancelled_build_leaves_no_process(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        mark = f"mark-{ids.token(9)}"
        hang = (
            f"(setsid sleep 600 {mark} &) 2>/dev/null; (exec -a {mark} sleep 600 &); echo up; cat"
        )
        script = hang.replace(f"sleep 600 {mark}", f"bash -c 'sleep 600; : {mark}'")
        plan = self.only(
            builder.plan(bench.fill(files), self.declared),
            Command(("bash", "-c", script + " < /dev/zero > /dev/null")),
        )
        building = asyncio.ensure_future(builder.build(plan, bench.workshop))
        await eventually(lambda: len(alive_with(mark)) >= 3)
        building.cancel()
        with pytest.raises(asyncio.CancelledError):
            await building
        assert alive_with(mark) == []

    def only(self, plan: Plan, *commands: Command) -> Plan:
        """The plan with other commands, which have no site as their result."""
        return replace(plan, commands=commands, layer=None, site=None)


def wheel(name: str) -> bytes:
    """A package that pip and uv install without asking an index."""
    held = io.BytesIO()
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(held, "w") as archive:
        for path, text in {
            f"{name}.py": "colour = 'red'\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        }.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return held.getvalue()
