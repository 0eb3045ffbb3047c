"""`GET /artifacts` and `zeitwork artifacts list`: what is kept, why, and what goes when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from cli.exits import Exit
from db.models import Artifact, ArtifactLayer, Deployment, StoredBlob
from db.session import UnitOfWork
from events.memory import MemoryBus
from events.nats_blobs import NatsBlobStore
from events.nats_bus import NatsBus
from tests.support.agents import packed
from tests.support.api import NODE_TOKEN, Api, assert_problem, dependencies, serving
from tests.support.cli import Cli
from tests.support.factories import (
    Conveyor,
    add_node,
    add_site,
    add_version,
    changed,
    fetch,
    finish_build,
    serve,
)
from zeitwork import clock, ids
from zeitwork.blob_places import S3Place
from zeitwork.s3_blobs import S3BlobStore


async def test_what_is_kept_says_why_and_what_goes_says_when(api: Api, work: UnitOfWork) -> None:
    await add_node(work)
    site = await add_site(work)
    served = await add_version(work, site)
    await serve(Conveyor(work), work, served)
    unused = await add_version(work, site)
    await finish_build(work, unused)
    since = clock.now() - timedelta(hours=1)
    async with changed(work, StoredBlob, f"{unused.deployment.number:064x}") as blob:
        blob.unused_since = since
    await add_version(work, await add_site(work))

    answer = await api.get(f"/artifacts?project={site.project.slug}")
    newer, older = answer.json["items"]
    assert older["kept_because"] == ["running", "recent"]
    assert older["layers"] == [{"digest": older["digest"], "size": 1}]
    assert (older["deletes_at"], older["deleted_at"]) == (None, None)
    assert newer["kept_because"] == []
    assert newer["deletes_at"] == (since + timedelta(hours=24)).isoformat().replace("+00:00", "Z")

    first = (await api.get("/artifacts?limit=1")).json
    assert [each["id"] for each in first["items"]] == [newer["id"]]
    rest = (await api.get(f"/artifacts?limit=1&before={first['next']}")).json
    assert [each["id"] for each in rest["items"]] == [older["id"]]

    cli = Cli.of(api)
    listed = await cli("artifacts", "list", "--json")
    assert (listed.code, json.loads(listed.out)) == (Exit.OK, [newer, older])
    shown = (await cli("artifacts", "list")).out
    assert "running, recent" in shown
    assert "nothing; deleted in 23h" in shown


async def test_nodes_fetch_from_whichever_store_there_is(
    work: UnitOfWork, bus: MemoryBus, nats_url: str, s3_place: S3Place, tmp_path: Path, traces: None
) -> None:
    nats = NatsBus(nats_url, name="blobs")
    await nats.start()
    source = tmp_path / "source"
    source.write_bytes(b"an artifact" * 100_000)
    whole = dependencies(work, bus, tmp_path)
    try:
        for store in (S3BlobStore(s3_place), NatsBlobStore(nats, f"t-{ids.token(9)}")):
            await store.start()
            blob = await store.put(source)
            async with serving(replace(whole, blobs=store)) as api:
                answer = await api.get(f"/artifacts/{blob.digest}", token=NODE_TOKEN)
                assert (answer.status, answer.body) == (200, source.read_bytes())
                assert answer.headers["Content-Length"] == str(blob.size)
                missing = await api.get(f"/artifacts/{'0' * 64}", token=NODE_TOKEN)
                assert_problem(missing, 404, "not_found")
            await store.stop()
    finally:
        await nats.stop()


async def test_what_a_deployment_runs_is_exported_without_the_values_of_its_variables(
    api: Api, work: UnitOfWork, tmp_path: Path
) -> None:
    site = await add_site(work)
    secret = {"variables": {"TOKEN": "hunter2"}}
    assert (await api.post(f"/projects/{site.project.slug}/variables", secret)).status == 200
    version = await add_version(work, site)
    await finish_build(work, version, path=[".venv/bin"])
    await Conveyor(work).settle()
    artifact_id = (await fetch(work, Deployment, version.deployment.id)).artifact_id
    source = tmp_path / "source"
    source.write_bytes(packed({"main.py": "hello"}))
    blob = await api.deps.blobs.put(source)
    async with work.transaction() as tx:
        layer = await tx.session.get_one(ArtifactLayer, (artifact_id, 0))
        layer.digest, layer.size = blob.digest, blob.size

    cli = Cli.of(api)
    target = tmp_path / "image.tar"
    arguments = ("artifacts", "export", version.deployment.id, "--oci", str(target), "--json")
    done = await cli(*arguments)
    assert done.code == Exit.OK, done.err
    image = target.read_bytes()
    assert json.loads(done.out)["digest"].encode() in image
    assert b"hunter2" not in image
    assert b'"dev.zeitwork.variables":"TOKEN"' in image
    assert b"app/main.py" in image
    await cli(*arguments)
    assert target.read_bytes() == image
    path = f"/deployments/{version.deployment.id}/artifact/layers/{'0' * 64}"
    assert_problem(await api.get(path), 404, "not_found")

    async with changed(work, Artifact, artifact_id) as artifact:
        artifact.deleted_at = clock.now()
    gone = await cli(*arguments)
    assert gone.code == Exit.CONFLICT
    assert json.loads(gone.err)["code"] == "artifact_gone"


async def test_a_project_that_is_not_there_and_a_caller_without_a_token_are_refused(
    api: Api,
) -> None:
    assert_problem(await api.get("/artifacts?project=nowhere"), 404, "not_found")
    assert_problem(await api.get("/artifacts", token=None), 401, "unauthenticated")
