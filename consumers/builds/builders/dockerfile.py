"""Images from a Dockerfile, built by a Docker Engine and kept as an OCI image layout.

The Engine gets the application's files and the variables of zeitwork.toml. It gets no variable of
the project: build arguments stay readable in the image.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import tempfile
from collections.abc import Awaitable, Mapping
from functools import partial
from pathlib import Path

from consumers.builds import image_context, image_layout, pack, threads
from consumers.builds.builders import base
from consumers.builds.declared import Declared
from consumers.builds.diagnosis import Ending, diagnose
from consumers.builds.engine import Engine, Order, StepFailed
from consumers.builds.failures import BaseImageUnavailable, NoStartCommand
from consumers.builds.image_context import DOCKERFILE
from consumers.builds.listing import Listing
from consumers.builds.manifest import IMAGE_COMMAND
from consumers.builds.plan import Plan, shell
from consumers.builds.project_file import NAME
from consumers.builds.transcript import Transcript
from consumers.builds.workshop import Workshop
from zeitwork.errors import BuildCommandFailed, BuildFailed, BuildTimedOut

_LAYOUT = ".zeitwork-image"
_ENGINES_OWN = re.compile(r"Step \d+/\d+ : | ---> |Removing intermediate container |Successfully ")


class DockerfileBuilder:
    """Leaves it to the Dockerfile; a build command of zeitwork.toml runs before, in the sandbox."""

    name = "dockerfile"

    def __init__(self, engine: Engine, *, version: str) -> None:
        self._engine = engine
        self.versions: Mapping[str, str] = {"docker": version}

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        if DOCKERFILE not in listing:
            raise BuildFailed(
                f"The dockerfile builder needs a file named {DOCKERFILE} in the application's "
                "directory. Add it, or choose another builder."
            )
        if declared.site is not None:
            raise BuildFailed(
                f"{NAME} names a `site` to serve, but an image serves its files by itself. "
                "Remove `site`, or choose another builder."
            )
        note = f"web: the image's own command, because {DOCKERFILE} says how it is started"
        return Plan(
            processes={"web": IMAGE_COMMAND, **declared.processes},
            notes=(declared.web_note if declared.web is not None else note,),
            commands=(shell(declared.build),) if declared.build else (),
            runtime="docker",
            artifact=_LAYOUT,
        )

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        target = workshop.app / _LAYOUT
        if target.exists() or target.is_symlink():
            raise BuildFailed(f"Zeitwork writes the image into {_LAYOUT}. Rename yours.")
        with tempfile.TemporaryDirectory(dir=workshop.home) as folder:
            image = await self._image(plan, workshop, Path(folder))
            saved = Path(folder) / "image.tar"
            await self._engine.save(image, saved, most_bytes=pack.Limits().total_bytes)
            written = await threads.run(partial(image_layout.write, saved, target))
        if plan.processes["web"] == IMAGE_COMMAND and not written.command:
            raise NoStartCommand(
                f"The image has neither ENTRYPOINT nor CMD. Add one to the {DOCKERFILE}, or "
                f"`start` to {NAME}."
            )
        workshop.transcript.say(f"Image {written.digest[:19]}, {written.layers} layers")

    async def _image(self, plan: Plan, workshop: Workshop, folder: Path) -> str:
        context = folder / "context.tar"
        count = await threads.run(partial(image_context.write, workshop.app, context))
        workshop.transcript.say(f"Sending {count} files to the Docker Engine")
        workshop.transcript.tail.clear()
        order = Order(
            context=context,
            tag=_tag(workshop),
            memory_mib=workshop.memory_mib,
            arguments=plan.build_env,
        )
        before = await self._engine.find(order.tag)
        try:
            async with asyncio.timeout(workshop.timeout_seconds):
                image = await self._engine.build(order, partial(_pass_on, workshop.transcript))
        except StepFailed as error:
            raise _explained(error, workshop) from error
        except TimeoutError as error:
            raise BuildTimedOut(
                f"The image took longer than {workshop.timeout_seconds:g} s and was stopped. A "
                "step must neither wait for input nor serve."
            ) from error
        finally:
            workshop.transcript.end_output()
        if before is not None and before != image:
            # Its layers that the new one shares stay; so each repository keeps one image.
            await self._engine.remove(before)
        return image


def _pass_on(transcript: Transcript, line: str) -> Awaitable[None] | None:
    """The Engine's own words are not the output of a program, which error messages quote."""
    if _ENGINES_OWN.match(line):
        transcript.say(line)
        return None
    return transcript.output(line)


def _tag(workshop: Workshop) -> str:
    """One name for the images of a repository, by the place of its layers on this machine.

    Layers are taken over from it alone: what another repository's build left is never trusted.
    """
    place = hashlib.sha256(os.fsencode(workshop.layers)).hexdigest()[:32]
    return f"zeitwork-build/{place}:latest"


def _explained(failed: StepFailed, workshop: Workshop) -> BuildFailed:
    said = " ".join(failed.said.split())[:500]
    if failed.returncode is not None:
        return diagnose(
            Ending(
                failed.command,
                failed.returncode,
                tuple(workshop.transcript.tail),
                workshop.memory_mib,
            )
        )
    if failed.instruction in {"", "FROM"}:
        return BaseImageUnavailable(
            f"The base image could not be fetched: {said}. Check its name and tag; if it is "
            "private, log the Docker Engine's host in to its registry."
        )
    return BuildCommandFailed(f"{failed.instruction} of the {DOCKERFILE} failed: {said}.")
