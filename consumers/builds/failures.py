"""Why builds fail: a class for each cause that people can do something about, each with its code.

`docs/reference/build-errors.md` lists them; a test keeps it complete.
"""

from __future__ import annotations

from zeitwork.errors import BuildCommandFailed, BuildFailed, NothingDetected, SourceUnavailable


class CommitGone(SourceUnavailable):
    """The repository has no such commit any more."""

    code = "commit_gone"


class SourceTooLarge(SourceUnavailable):
    """The commit holds too many files, or too much in them."""

    code = "source_too_large"


class SubmoduleUnavailable(SourceUnavailable):
    """A submodule could not be fetched."""

    code = "submodule_unavailable"


class GitLfsPointer(SourceUnavailable):
    """A file is kept in Git LFS; the repository holds only a pointer to it."""

    code = "git_lfs_pointer"


class InvalidZeitworkToml(BuildFailed):
    """zeitwork.toml cannot be understood; the message names line and column."""

    code = "invalid_zeitwork_toml"


class ProcfileWithoutWeb(BuildFailed):
    """The Procfile declares processes, but none that answers requests."""

    code = "procfile_without_web"


class NoStartCommand(BuildFailed):
    """Nothing says how the application is started."""

    code = "no_start_command"


class DockerfileUnsupported(NothingDetected):
    """Only a Dockerfile says how this is built, and no Docker Engine is configured."""

    code = "dockerfile_unsupported"


class DockerfileInvalid(BuildFailed):
    """The Docker Engine does not understand the Dockerfile."""

    code = "dockerfile_invalid"


class BaseImageUnavailable(BuildCommandFailed):
    """The image that a Dockerfile begins with could not be fetched."""

    code = "base_image_unavailable"


class PythonVersionMissing(BuildFailed):
    """The repository asks for a Python that this machine does not have."""

    code = "python_version_missing"


class NodeVersionMissing(BuildFailed):
    """The repository asks for a Node.js that this machine does not have."""

    code = "node_version_missing"


class LockFileOutdated(BuildCommandFailed):
    """The lock file says something else than what it locks."""

    code = "lock_file_outdated"


class DependencyUnavailable(BuildCommandFailed):
    """A package could not be fetched: it is private, misspelt or gone, or the index is away."""

    code = "dependency_unavailable"


class BuildOutOfDisk(BuildCommandFailed):
    """The build wrote more than it may."""

    code = "build_out_of_disk"


class ArtifactTooLarge(BuildFailed):
    """What the build left is too large to be kept."""

    code = "artifact_too_large"
