"""`zeitwork artifacts …`: what is stored of builds, why it is kept, and as an image."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import App, Parameter

from cli import oci_image, output
from cli.client import connect
from cli.exits import Exit
from cli.options import Options
from zeitwork import blobs

app = App(name="artifacts", help="Artifacts: list, export.")


@app.command(name="list")
async def list_(
    *,
    project: Annotated[str | None, Parameter(help="Only of this project.")] = None,
    limit: Annotated[int, Parameter(help="How many, newest first.")] = 20,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """List artifacts, newest first, with what keeps them."""
    async with connect(options) as client:
        found = (await client.get("/artifacts", project=project, limit=limit))["items"]
    if options.json:
        output.emit_json(found)
        return Exit.OK
    output.table(
        ["ARTIFACT", "DIGEST", "SIZE", "BUILDER", "CREATED", "KEPT BECAUSE"],
        [
            [
                each["id"],
                each["digest"][:12],
                output.size(each["size"]),
                each["builder"],
                output.age(each["created_at"]),
                _kept(each),
            ]
            for each in found
        ],
        empty="No artifacts yet. A build leaves one: zeitwork deploy PROJECT",
    )
    return Exit.OK


@app.command
async def export(
    deployment: Annotated[str, Parameter(help="The deployment's id.")],
    /,
    *,
    oci: Annotated[
        Path | None,
        Parameter(help="File to write, an OCI image layout; default: PROJECT-NUMBER.tar here."),
    ] = None,
    options: Options = Options(),  # noqa: B008 - frozen
) -> int:
    """Write what a deployment runs as a container image, for other tools."""
    async with connect(options) as client:
        found = await client.get(f"/deployments/{deployment}/artifact")
        target = oci or Path(f"{found['project']}-{found['number']}.tar")
        with TemporaryDirectory(dir=target.parent, prefix=".zeitwork-export-") as folder:
            layers = []
            for number, layer in enumerate(found["layers"]):
                layers.append(Path(folder) / f"{number}.tar.zst")
                path = f"/deployments/{deployment}/artifact/layers/{layer['digest']}"
                await client.download(path, layers[-1])
                await blobs.verify(layers[-1], layer["digest"])
            whole = Path(folder) / "image.tar"
            digest = await asyncio.to_thread(oci_image.write, whole, layers, _image(found))
            whole.replace(target)
    if options.json:
        output.emit_json({"file": str(target), "digest": digest})
    else:
        output.out.print(f"{target}: {digest}", markup=False, highlight=False, soft_wrap=True)
    return Exit.OK


def _image(found: dict[str, Any]) -> oci_image.Image:
    return oci_image.Image(
        command=found["command"],
        env=found["env"],
        path=found["path"],
        variables=found["variables"],
        reference=f"{found['project']}:{found['number']}",
        architecture=found["architecture"],
    )


def _kept(artifact: dict[str, Any]) -> str:
    if artifact["deleted_at"] is not None:
        return f"deleted {output.age(artifact['deleted_at'])}"
    if artifact["kept_because"]:
        return ", ".join(artifact["kept_because"]).replace("_", " ")
    if artifact["deletes_at"] is not None:
        return f"nothing; deleted {output.until(artifact['deletes_at'])}"
    return "new"
