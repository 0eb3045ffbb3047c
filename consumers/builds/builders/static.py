"""Static files: served as they are by Caddy, each with an entity tag made from its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event

from consumers.builds import threads, tree
from consumers.builds.builders import base
from consumers.builds.builders.caddyfile import COMMAND, ETAG_SUFFIX, PATH, caddyfile
from consumers.builds.declared import Declared
from consumers.builds.detect import web_root
from consumers.builds.listing import Listing
from consumers.builds.plan import Plan, shell
from consumers.builds.workshop import Workshop
from zeitwork.errors import BuildFailed

_MOST_NAME_BYTES = 255


class StaticBuilder:
    """Copies files; the whole work is a configuration and the entity tags."""

    name = "static"

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {}

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        root = declared.site if declared.site is not None else web_root(listing)
        if root is None and declared.web is None:
            raise BuildFailed("There is no index.html to serve; add one.")
        plan = site_plan(root or "", declared)
        return replace(plan, commands=(shell(declared.build),)) if declared.build else plan

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        if plan.site is not None:
            await finish_site(plan.site, workshop)


def site_plan(root: str, declared: Declared, *, fallback: str | None = None) -> Plan:
    """Serve the folder `root` by Caddy, unless the repository has a web command of its own."""
    if declared.web is not None:
        return Plan(processes=dict(declared.processes), notes=(declared.web_note,))
    return Plan(
        processes={**declared.processes, "web": COMMAND},
        notes=(f"web: the files in {root or 'the root directory'}, served by Caddy",),
        files={PATH: caddyfile(root, fallback=fallback)},
        site=root,
    )


async def finish_site(root: str, workshop: Workshop) -> None:
    """Give every file of the site its entity tag.

    Raises:
        BuildFailed: the build left no index.html there.
    """
    site = workshop.app / root
    if site.is_symlink() or not (site / "index.html").is_file():
        raise BuildFailed(f"The build left no index.html in {root}/; there is nothing to serve.")
    await threads.run(lambda stop: _write_etags(site, stop))


def _write_etags(site: Path, stop: Event) -> None:
    for path in [*_served(site)]:
        threads.check(stop)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        beside = path.with_name(path.name + ETAG_SUFFIX)
        base.write_anew(beside, f'"{digest[:32]}"')


def _served(site: Path) -> Iterator[Path]:
    """Regular files that Caddy may serve; links are served too, but without a tag."""
    for entry in tree.walk(site, enter=_served_folder):
        hidden = entry.name.startswith(".") or entry.name.endswith(ETAG_SUFFIX)
        # There is no room for the tag beside a name that is nearly as long as names can be.
        fits = len(os.fsencode(entry.name + ETAG_SUFFIX)) <= _MOST_NAME_BYTES
        if not hidden and fits and entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _served_folder(name: str) -> bool:
    return not name.startswith(".") or name == ".well-known"
