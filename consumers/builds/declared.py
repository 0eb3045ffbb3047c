"""What a repository says of its processes and steps: the Procfile, and above it zeitwork.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from consumers.builds.procfile import Procfile
from consumers.builds.project_file import NAME, ProjectFile

_RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Declared:
    """Both files as one.

    Attributes:
        processes: start commands by process name; no "release" among them.
        web_by: the file that says what "web" is.
        release: runs once for each deployment, before it serves.
        build: runs instead of the builder's own build step.
        site: the folder of static files to serve.
    """

    processes: Mapping[str, str] = field(default_factory=dict)
    web_by: str = "the Procfile"
    release: str | None = None
    build: str | None = None
    site: str | None = None

    @property
    def web(self) -> str | None:
        return self.processes.get("web")

    @property
    def web_note(self) -> str:
        return f"web: `{self.web}`, as {self.web_by} says"


def declared(procfile: Procfile, project_file: ProjectFile) -> Declared:
    """Put them together; zeitwork.toml wins."""
    processes = {**procfile.processes, **project_file.commands}
    release = processes.pop(_RELEASE, None)
    return Declared(
        processes=processes,
        web_by=NAME if "web" in project_file.commands else "the Procfile",
        release=project_file.release or release,
        build=project_file.build,
        site=project_file.site,
    )
