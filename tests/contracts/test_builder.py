"""The builders against their contract, and what only one of them does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from consumers.builds import builders
from consumers.builds.builders import Builder
from consumers.builds.builders.caddyfile import ETAG_SUFFIX, PATH
from consumers.builds.declared import Declared
from consumers.builds.plan import Command
from node.artifacts import _unpack
from tests.contracts.builder import Bench, BuilderContract, Files, wheel
from zeitwork import subprocesses
from zeitwork.errors import BuildFailed


class TestStaticBuilder(BuilderContract):
    """Files, as they are."""

    @pytest.fixture
    async def builder(self) -> Builder:
        return await builders.create("static")

    @pytest.fixture
    def files(self) -> Files:
        return {"index.html": "<h1>hello</h1>", "a/b.css": "b {}", ".hidden/c": "c"}

    async def test_each_served_file_has_a_tag_of_its_content(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        # 250 bytes: no room for the tag's name beside it.
        more = {"same.html": files["index.html"], "x" * 250: "x", ".well-known/d": "d"}
        plan = builder.plan(bench.fill({**files, **more}), Declared())
        await builder.build(plan, bench.workshop)
        tags = {
            str(path.relative_to(bench.app)).removesuffix(ETAG_SUFFIX): path.read_text()
            for path in bench.app.rglob(f"*{ETAG_SUFFIX}")
        }
        assert tags.keys() == {"index.html", "same.html", "a/b.css", ".well-known/d"}
        assert tags["index.html"] == tags["same.html"] != tags["a/b.css"]

    @pytest.mark.parametrize("planted", [PATH, ".zeitwork", f"index.html{ETAG_SUFFIX}"])
    async def test_nothing_is_written_through_a_planted_link(
        self, builder: Builder, files: Files, bench: Bench, planted: str
    ) -> None:
        target = bench.root / "target"
        target.mkdir()
        (target / "Caddyfile").write_text("untouched")
        plan = builder.plan(bench.fill(files), Declared())
        link = bench.app / planted
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target if planted == ".zeitwork" else target / "Caddyfile")
        await builder.build(plan, bench.workshop)
        assert (target / "Caddyfile").read_text() == "untouched"
        assert not link.is_symlink()

    @pytest.mark.parametrize("planted", [PATH, f"index.html{ETAG_SUFFIX}"])
    async def test_a_directory_in_the_place_of_our_file_is_a_failed_build(
        self, builder: Builder, files: Files, bench: Bench, planted: str
    ) -> None:
        plan = builder.plan(bench.fill({**files, f"{planted}/x": "x"}), Declared())
        with pytest.raises(BuildFailed, match="is a directory"):
            await builder.build(plan, bench.workshop)


class TestPythonBuilder(BuilderContract):
    """A virtual environment beside the sources."""

    @pytest.fixture
    async def builder(self) -> Builder:
        return await builders.create("python")

    @pytest.fixture
    def files(self) -> Files:
        return {
            "main.py": "import tiny\nprint(tiny.colour)\n",
            "requirements.txt": "./tiny-1.0-py3-none-any.whl\n",
            "tiny-1.0-py3-none-any.whl": wheel("tiny"),
        }

    async def test_a_node_can_unpack_and_run_it_anywhere(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        plan = builder.plan(bench.fill(files), Declared())
        await builder.build(plan, bench.workshop)
        await bench.digest()
        _unpack(bench.root / "archive", bench.root / "node")
        for name in ("python", "python3"):
            program = bench.root / "node" / plan.path[0] / name
            output = await subprocesses.check(
                [str(program), "main.py"], cwd=bench.root / "node", timeout=30
            )
            assert output == "red"

    @pytest.mark.parametrize("planted", [".venv", ".venv/bin", ".venv/lib"])
    async def test_nothing_is_changed_through_a_planted_link(
        self, builder: Builder, files: Files, bench: Bench, planted: str
    ) -> None:
        target = bench.root / "target"
        for folder in ("bin", "lib/python3.11/site-packages/a.dist-info"):
            (target / folder).mkdir(parents=True)
        (target / "bin" / "python3").symlink_to("elsewhere")
        note = target / "lib/python3.11/site-packages/a.dist-info/uv_cache.json"
        note.write_text("untouched")
        plan = builder.plan(bench.fill(files), Declared())
        link = bench.app / planted
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(target / Path(planted).name if "/" in planted else target)
        await builder.build(self.only(plan, Command(("true",))), bench.workshop)
        assert (target / "bin" / "python3").readlink() == Path("elsewhere")
        assert note.read_text() == "untouched"


class TestNodeBuilder(BuilderContract):
    """npm and its scripts."""

    @pytest.fixture
    async def builder(self) -> Builder:
        if shutil.which("node") is None or shutil.which("npm") is None:
            pytest.skip("Node.js and npm are not installed")
        return await builders.create("node")

    @pytest.fixture
    def files(self) -> Files:
        return {
            "package.json": '{"name": "a", "scripts": {"build": "node build.js", "start": "x"}}',
            "build.js": "require('fs').writeFileSync('built.txt', 'built')",
        }

    async def test_the_build_script_runs(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        await builder.build(builder.plan(bench.fill(files), Declared()), bench.workshop)
        assert (bench.app / "built.txt").read_text() == "built"

    async def test_a_site_without_a_page_is_a_failed_build(
        self, builder: Builder, bench: Bench
    ) -> None:
        package = (
            '{"scripts": {"build": "true"}, "devDependencies": {}, "optionalDependencies": %s}'
        )
        plan = builder.plan(bench.fill({"package.json": package % '{"vite": "1"}'}), Declared())
        assert plan.site == "dist"
        (bench.app / "dist").symlink_to(Path("/usr"))
        commands = tuple(one for one in plan.commands if "install" not in one.argv)
        with pytest.raises(BuildFailed, match=r"left no index\.html in dist/"):
            await builder.build(replace(plan, commands=commands), bench.workshop)


class TestCommandBuilder(BuilderContract):
    """Whatever the repository says."""

    declared: ClassVar[Declared] = Declared({"web": "./serve"}, build="printf built > built.txt")

    @pytest.fixture
    async def builder(self) -> Builder:
        return await builders.create("command")

    @pytest.fixture
    def files(self) -> Files:
        return {"serve": "#!/bin/sh\n"}

    @override
    def test_other_commands_of_the_procfile_stay(self, builder: Builder, files: Files) -> None:
        both = Declared({"web": "./serve", "worker": "work"})
        assert self.plan(builder, files, both).processes == both.processes

    async def test_the_build_command_runs(
        self, builder: Builder, files: Files, bench: Bench
    ) -> None:
        await builder.build(builder.plan(bench.fill(files), self.declared), bench.workshop)
        assert (bench.app / "built.txt").read_text() == "built"

    async def test_the_folder_that_it_makes_is_served(self, builder: Builder, bench: Bench) -> None:
        declared = Declared(build="mkdir pages && echo hello > pages/index.html", site="pages")
        plan = builder.plan(bench.fill({}), declared)
        await builder.build(plan, bench.workshop)
        assert (bench.app / f"pages/index.html{ETAG_SUFFIX}").is_file()
