"""Organisations and projects: made, refused, listed."""

from __future__ import annotations

import asyncio
from typing import Any

from db.models import Project
from db.session import UnitOfWork
from tests.support.api import Api, assert_problem
from tests.support.factories import events_of, fetch

SHOP: dict[str, Any] = {"organisation": "acme", "slug": "shop", "github_repo": "Acme/Shop"}


async def test_an_organisation_is_created_with_its_event(api: Api, work: UnitOfWork) -> None:
    answer = await api.post("/organisations", {"slug": "acme", "name": "  Acme Gr\u00fc\u00dfe "})
    assert answer.status == 201
    made = answer.json
    assert (made["slug"], made["name"]) == ("acme", "Acme Gr\u00fc\u00dfe")
    [event] = await events_of(work.database)
    assert (event.type, event.aggregate_id) == ("organisation.created", made["id"])
    assert (event.organisation_id, event.actor) == (made["id"], "api")
    assert event.correlation_id == answer.headers["X-Request-Id"]
    assert (await api.get("/organisations")).json == {"items": [made], "next": None}


async def test_an_organisation_is_named_after_its_slug_by_default(api: Api) -> None:
    assert (await api.post("/organisations", {"slug": "acme"})).json["name"] == "acme"


async def test_a_second_organisation_of_that_slug_is_a_conflict(api: Api, work: UnitOfWork) -> None:
    await api.post("/organisations", {"slug": "acme"})
    problem = assert_problem(await api.post("/organisations", {"slug": "acme"}), 409, "conflict")
    assert "acme" in problem["detail"]
    assert len(await events_of(work.database)) == 1


async def test_of_many_at_once_one_gets_the_slug(api: Api, work: UnitOfWork) -> None:
    await api.post("/organisations", {"slug": "acme"})
    for path, body in (("/organisations", {"slug": "globex"}), ("/projects", SHOP)):
        answers = await asyncio.gather(*(api.post(path, body) for _ in range(8)))
        assert sorted(answer.status for answer in answers) == [201, *[409] * 7]
        for answer in answers:
            if answer.status == 409:
                assert_problem(answer, 409, "conflict")
    types = [event.type for event in await events_of(work.database)]
    assert types == ["organisation.created", "organisation.created", "project.created"]


async def test_a_slug_is_a_dns_label(api: Api) -> None:
    for slug in ("", "-a", "a-", "A", "a.b", "a_b", "a" * 64, "\u00fc", "a\n"):
        answer = await api.post("/organisations", {"slug": slug})
        if slug == "a\n":  # white space round a value is taken off
            assert answer.json["slug"] == "a"
        else:
            assert_problem(answer, 400, "invalid_fields")
    assert (await api.post("/organisations", {"slug": "a" * 63})).status == 201


async def test_a_project_is_created_with_its_production_environment(
    api: Api, work: UnitOfWork
) -> None:
    organisation = (await api.post("/organisations", {"slug": "acme"})).json
    answer = await api.post(
        "/projects", {**SHOP, "github_installation_id": 7, "default_branch": "trunk"}
    )
    assert answer.status == 201
    made = answer.json
    assert made["organisation_id"] == organisation["id"]
    assert (made["github_repo"], made["github_installation_id"]) == ("acme/shop", 7)
    assert (made["name"], made["root_directory"], made["health_path"]) == ("shop", "", "/")
    [environment] = made["environments"]
    assert (environment["name"], environment["branch"]) == ("production", "trunk")
    assert environment["host"] == "shop.apps.test"
    assert environment["url"] == "http://shop.apps.test:8000/"
    event = (await events_of(work.database))[-1]
    assert (event.type, event.project_id) == ("project.created", made["id"])
    for reference in (made["id"], "shop"):
        assert (await api.get(f"/projects/{reference}")).json == made


async def test_a_project_may_come_from_any_git_url(api: Api) -> None:
    await api.post("/organisations", {"slug": "acme"})
    for number, url in enumerate(
        (
            "https://git.test/a/b.git",
            "ssh://git@git.test:2222/a/b",
            "git@git.test:a/b.git",
            "file:///srv/git/b",
        )
    ):
        body = {"organisation": "acme", "slug": f"p-{number}", "clone_url": url}
        made = await api.post("/projects", body)
        assert (made.status, made.json["clone_url"]) == (201, url)


async def test_credentials_of_an_address_are_kept_but_not_shown(api: Api, work: UnitOfWork) -> None:
    await api.post("/organisations", {"slug": "acme"})
    url = "https://me:s3cret@git.test/a/b.git"
    made = await api.post("/projects", {"organisation": "acme", "slug": "shop", "clone_url": url})
    assert made.json["clone_url"] == "https://git.test/a/b.git"
    assert (await fetch(work, Project, made.json["id"])).clone_url == url


async def test_a_url_that_would_run_a_program_is_refused(api: Api) -> None:
    await api.post("/organisations", {"slug": "acme"})
    for url in (
        "ext::sh -c id",
        "--upload-pack=id",
        "fd::17/x",
        "/srv/git/b",
        "https://git.test/a b",
        "https://git.test/\ud800",
    ):
        answer = await api.post(
            "/projects", {"organisation": "acme", "slug": "shop", "clone_url": url}
        )
        problem = assert_problem(answer, 400, "invalid_fields")
        assert [error["pointer"] for error in problem["errors"]] == ["/clone_url"]


async def test_a_project_needs_its_organisation(api: Api, work: UnitOfWork) -> None:
    assert_problem(await api.post("/projects", SHOP), 404, "not_found")
    assert await events_of(work.database) == []


async def test_a_second_project_of_that_slug_is_a_conflict(api: Api) -> None:
    """In another organisation too: a slug is a host name."""
    for slug in ("acme", "globex"):
        await api.post("/organisations", {"slug": slug})
    assert (await api.post("/projects", SHOP)).status == 201
    answer = await api.post("/projects", {**SHOP, "organisation": "globex"})
    assert_problem(answer, 409, "conflict")


async def test_projects_are_listed_page_by_page(api: Api) -> None:
    await api.post("/organisations", {"slug": "acme"})
    made = {
        (await api.post("/projects", {**SHOP, "slug": f"p-{number}"})).json["id"]
        for number in range(5)
    }
    seen: list[str] = []
    path = "/projects?limit=2"
    for _ in range(4):
        page = (await api.get(path)).json
        seen += [project["id"] for project in page["items"]]
        if page["next"] is None:
            break
        path = f"/projects?limit=2&after={page['next']}"
    assert len(seen) == 5
    assert set(seen) == made
    assert seen == sorted(seen)
    assert (await api.get("/projects?limit=5")).json["next"] == seen[-1]
    assert (await api.get(f"/projects?after={seen[-1]}")).json == {"items": [], "next": None}
