"""The builder of Dockerfiles against the contract of builders, by a real Docker Engine."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.builds import builders
from consumers.builds.builders import Builder
from consumers.builds.declared import Declared
from consumers.builds.manifest import IMAGE_COMMAND
from tests.contracts.builder import Bench, BuilderContract, Files
from tests.support.docker import BASE, DockerEngine, docker_engine, why_no_engine
from zeitwork.errors import BuildFailed

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def engine() -> Iterator[DockerEngine]:
    if reason := why_no_engine():
        pytest.skip(reason)
    # Paths of sockets are short, and pytest's are long.
    place = Path(tempfile.mkdtemp(prefix="zw-docker-"))
    try:
        with docker_engine(place / "engine") as engine:
            engine.import_base()
            yield engine
    finally:
        shutil.rmtree(place, ignore_errors=True)


class TestDockerfileBuilder(BuilderContract):
    """An image beside the sources."""

    @pytest.fixture
    async def builder(self, engine: DockerEngine) -> Builder:
        return await builders.create("dockerfile", engine=engine.settings)

    @pytest.fixture
    def files(self) -> Files:
        return {
            "Dockerfile": f"FROM {BASE}\nCOPY . /srv\nRUN cat /srv/page > /copy\nCMD httpd -f\n",
            "page": "hello",
        }

    def test_the_image_decides_how_it_is_started(self, builder: Builder, files: Files) -> None:
        assert self.plan(builder, files).processes == {"web": IMAGE_COMMAND}
        assert self.plan(builder, files).runtime == "docker"

    @pytest.mark.parametrize("planted", [".zeitwork-image", ".zeitwork-image/x"])
    async def test_what_lies_in_the_images_place_is_not_written_over(
        self, builder: Builder, files: Files, bench: Bench, planted: str
    ) -> None:
        plan = builder.plan(bench.fill({**files, planted: "x"}), Declared())
        with pytest.raises(BuildFailed, match="Rename yours"):
            await builder.build(plan, bench.workshop)
