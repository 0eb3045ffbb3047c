"""Whatever else there is: the repository says itself how it is built and how it is started."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.builds.builders import base
from consumers.builds.builders.static import finish_site, site_plan
from consumers.builds.declared import Declared
from consumers.builds.failures import NoStartCommand
from consumers.builds.listing import Listing
from consumers.builds.plan import Plan, shell
from consumers.builds.project_file import NAME
from consumers.builds.workshop import Workshop


class CommandBuilder:
    """Runs the build command, and knows nothing of what it does."""

    name = "command"

    def __init__(self) -> None:
        self.versions: Mapping[str, str] = {}

    def plan(self, listing: Listing, declared: Declared) -> Plan:
        del listing
        commands = (shell(declared.build),) if declared.build else ()
        if declared.web is not None:
            return Plan(
                processes=dict(declared.processes),
                notes=(declared.web_note,),
                commands=commands,
            )
        if declared.site is not None:
            site = site_plan(declared.site, declared)
            return Plan(
                processes=site.processes,
                notes=site.notes,
                commands=commands,
                files=site.files,
                site=site.site,
            )
        raise NoStartCommand(
            f"The command builder takes the start command from the repository: add `start` to "
            f"{NAME}, or a Procfile with a `web:` line; for static files, `site`."
        )

    async def build(self, plan: Plan, workshop: Workshop) -> None:
        await base.carry_out(plan, workshop)
        if plan.site is not None:
            await finish_site(plan.site, workshop)
