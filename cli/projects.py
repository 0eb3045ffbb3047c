"""`zeitwork projects …`: create, list, show, change, remove."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import App, Parameter

from cli import output
from cli.client import ApiProblem, Client, connect
from cli.confirmation import confirm
from cli.options import Flag, Options

app = App(name="projects", help="Projects: create, list, show, change, remove.")
_DEFAULT_ORGANISATION = "default"
_CONFLICT = 409
NewerCommit: TypeAlias = Literal["cancel", "queue", "all"]
_Globs = Annotated[
    tuple[str, ...] | None,
    Parameter(help="Globs; repeatable. * stays within a directory, ** does not.", negative=""),
]


@app.command
async def create(
    slug: Annotated[str, Parameter(help="Its name, also in its URL.")],
    /,
    *,
    repo: Annotated[str | None, Parameter(help="GitHub repository, owner/name.")] = None,
    clone_url: Annotated[str | None, Parameter(help="Any URL that git understands.")] = None,
    installation: Annotated[
        int | None, Parameter(help="Installation of the GitHub App, by its number.")
    ] = None,
    branch: Annotated[str, Parameter(help="Branch that deploys to production.")] = "main",
    root: Annotated[str, Parameter(help="Directory of the application in the repository.")] = "",
    health_path: Annotated[str, Parameter(help="Path that answers once it is ready.")] = "/",
    newer_commit: Annotated[
        NewerCommit, Parameter(help="What a newer commit does to builds of older ones.")
    ] = "cancel",
    organisation: Annotated[str, Parameter(help="Made when it does not exist.")] = (
        _DEFAULT_ORGANISATION
    ),
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Create a project; it serves at SLUG and the base domain once deployed."""
    async with connect(options) as client:
        await ensure_organisation(client, organisation)
        project = await client.post(
            "/projects",
            {
                "organisation": organisation,
                "slug": slug,
                "github_repo": repo,
                "github_installation_id": installation,
                "clone_url": clone_url,
                "default_branch": branch,
                "root_directory": root,
                "health_path": health_path,
                "newer_commit": newer_commit,
            },
        )
    _print(project, options)
    return 0


@app.command(name="list")
async def list_(*, options: Options = Options()) -> int:  # noqa: B008 - frozen
    """List the projects."""
    async with connect(options) as client:
        found = await client.pages("/projects", "after")
    if options.json:
        output.emit_json(found)
        return 0
    output.table(
        ["PROJECT", "SOURCE", "URL", "CREATED"],
        [
            [
                each["slug"],
                each["github_repo"] or each["clone_url"],
                each["environments"][0]["url"],
                output.age(each["created_at"]),
            ]
            for each in found
        ],
        empty="No projects yet. Create one: zeitwork projects create NAME --repo OWNER/REPO",
    )
    return 0


@app.command
async def show(
    project: Annotated[str, Parameter(help="Slug or id.")],
    /,
    *,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Show a project."""
    async with connect(options) as client:
        found = await client.get(f"/projects/{project}")
    _print(found, options)
    return 0


@app.command
async def change(
    project: Annotated[str, Parameter(help="Slug or id.")],
    /,
    *,
    root: Annotated[str | None, Parameter(help="Directory of the application.")] = None,
    health_path: Annotated[str | None, Parameter(help="Path that answers once ready.")] = None,
    include: _Globs = None,
    exclude: _Globs = None,
    previews: Annotated[bool | None, Parameter(help="Pull requests get previews.")] = None,
    newer_commit: Annotated[
        NewerCommit | None, Parameter(help="What a newer commit does to builds of older ones.")
    ] = None,
    preview_branches: _Globs = None,
    preview_limit: Annotated[int | None, Parameter(help="Previews at once; more wait.")] = None,
    preview_days: Annotated[int | None, Parameter(help="Days that one lives without news.")] = None,
    preview_forks: Annotated[
        Literal["approve", "allow", "trust"] | None,
        Parameter(help="Forks wait for approval, do not, or see secrets too."),
    ] = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Change a project; what is not named stays. Lists are repeated options; '' empties one."""
    changes = {
        "root_directory": root,
        "health_path": health_path,
        "include_paths": _list(include),
        "exclude_paths": _list(exclude),
        "previews_enabled": previews,
        "newer_commit": newer_commit,
        "preview_branches": _list(preview_branches),
        "preview_limit": preview_limit,
        "preview_max_age_days": preview_days,
        "preview_forks": preview_forks,
    }
    async with connect(options) as client:
        changed = await client.patch(f"/projects/{project}", changes)
    _print(changed, options)
    return 0


@app.command
async def remove(
    project: Annotated[str, Parameter(help="Slug or id.")],
    /,
    *,
    yes: Annotated[bool, Flag, Parameter(help="Do not ask.")] = False,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Stop a project and remove all that belongs to it."""
    if not yes and not await confirm(f"Remove {project}, with all its environments?"):
        return 0
    async with connect(options) as client:
        closing = await client.delete(f"/projects/{project}")
    _print(closing, options)
    return 0


def _list(said: tuple[str, ...] | None) -> list[str] | None:
    return None if said is None else [each for each in said if each]


async def ensure_organisation(client: Client, slug: str) -> None:
    """Create the organisation unless it exists."""
    try:
        await client.post("/organisations", {"slug": slug})
    except ApiProblem as problem:
        if problem.status != _CONFLICT:
            raise


def _previews(project: dict[str, Any]) -> str | None:
    if not project["previews_enabled"]:
        return None
    branches = ", ".join(project["preview_branches"])
    also = f", and branches {branches}" if branches else ""
    return (
        f"of pull requests{also}; {project['preview_limit']} at once, "
        f"{project['preview_max_age_days']} days; forks: {project['preview_forks']}"
    )


def _print(project: dict[str, Any], options: Options) -> None:
    if options.json:
        output.emit_json(project)
        return
    output.facts(
        {
            "Project": project["slug"],
            "Id": project["id"],
            "Source": project["github_repo"] or project["clone_url"],
            "Root": project["root_directory"] or None,
            "Newer commit": project["newer_commit"],
            "Deployed for": ", ".join(project["include_paths"]) or None,
            "But not for": ", ".join(project["exclude_paths"]) or None,
            "Previews": _previews(project),
            **{
                f"{each['name']} ({each['branch']})": each["url"]
                for each in project["environments"]
            },
        }
    )
