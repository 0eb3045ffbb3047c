"""`zeitwork projects …`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from cyclopts import App, Parameter

from cli import output
from cli.client import ApiProblem, Client, connect
from cli.options import Options

app = App(name="projects", help="Projects: create, list, show, change.")
_DEFAULT_ORGANISATION = "default"
_CONFLICT = 409
NewerCommit: TypeAlias = Literal["cancel", "queue", "all"]


@app.command
async def create(
    slug: Annotated[str, Parameter(help="Its name, also in its URL.")],
    /,
    *,
    repo: Annotated[str | None, Parameter(help="GitHub repository, owner/name.")] = None,
    clone_url: Annotated[str | None, Parameter(help="Any URL that git understands.")] = None,
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


@app.command(name="set")
async def set_(
    project: Annotated[str, Parameter(help="Slug or id.")],
    /,
    *,
    newer_commit: Annotated[
        NewerCommit | None, Parameter(help="What a newer commit does to builds of older ones.")
    ] = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Change a project."""
    async with connect(options) as client:
        found = await client.patch(f"/projects/{project}", {"newer_commit": newer_commit})
    _print(found, options)
    return 0


async def ensure_organisation(client: Client, slug: str) -> None:
    """Create the organisation unless it exists."""
    try:
        await client.post("/organisations", {"slug": slug})
    except ApiProblem as problem:
        if problem.status != _CONFLICT:
            raise


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
            **{
                f"{each['name']} ({each['branch']})": each["url"]
                for each in project["environments"]
            },
        }
    )
