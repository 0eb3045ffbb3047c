"""Row-level security: what a session may see without a tenant, with one, and with all."""

from __future__ import annotations

import psycopg
import pytest

from db.session import UnitOfWork
from tests.support.database import execute
from tests.support.factories import Conveyor, Version, add_node, add_site, add_version, finish_build
from zeitwork import ids

# Partitions are reached through event_log, whose policy then counts.
TENANT_TABLES = """
    SELECT DISTINCT table_name FROM information_schema.columns
    JOIN pg_class ON pg_class.oid = table_name::regclass
    WHERE table_schema = 'public' AND column_name = 'organisation_id' AND NOT relispartition
"""


def tenant_tables(url: str) -> list[str]:
    return sorted(name for (name,) in execute(url, TENANT_TABLES))


def uuid_of(organisation_id: str) -> str:
    return str(ids.to_uuid(ids.Prefix.ORGANISATION, organisation_id))


async def furnish(work: UnitOfWork) -> Version:
    """Rows of an organisation of its own, in every tenant table that handlers write."""
    version = await add_version(work, await add_site(work))
    await finish_build(work, version)
    await Conveyor(work).settle()
    async with work.transaction() as tx:
        await tx.session.connection()
    return version


@pytest.fixture
async def two(work: UnitOfWork, migrated_url: str) -> tuple[str, str]:
    """The uuids of two organisations that have rows everywhere."""
    await add_node(work)
    found = []
    for number in range(2):
        version = await furnish(work)
        uuid = uuid_of(version.deployment.organisation_id)
        build = ids.to_uuid(ids.Prefix.BUILD, version.build.id)
        deployment = ids.to_uuid(ids.Prefix.DEPLOYMENT, version.deployment.id)
        project = ids.to_uuid(ids.Prefix.PROJECT, version.deployment.project_id)
        user = ids.new_uuid()
        execute(
            migrated_url,
            f"INSERT INTO users (id, email, name) VALUES ('{user}', '{user}@test', 'x');"
            f"INSERT INTO memberships VALUES ('{user}', '{uuid}', 'owner');"
            f"INSERT INTO build_log_packs VALUES ('{build}', 1, '', '{uuid}');"
            f"INSERT INTO variables (id, project_id, scope, phase, name, key_id, sealed, size,"
            f" created_by, organisation_id) SELECT '{user}', project_id, 'project', 'run', 'A',"
            f" 'k', '', 0, 'x', '{uuid}' FROM builds WHERE id = '{build}';"
            f"INSERT INTO deployment_variables SELECT deployment_id, '{user}', '{uuid}'"
            f" FROM builds WHERE id = '{build}';"
            "INSERT INTO github_installations"
            " (id, organisation_id, account, account_type, repository_selection, state, seen_at,"
            f" version) VALUES ({number}, '{uuid}', 'a', 'User', 'all', 'active', now(), 1);"
            "INSERT INTO github_repositories"
            " (id, installation_id, organisation_id, full_name, private, seen_at)"
            f" VALUES ({number}, {number}, '{uuid}', 'a/b', true, now());"
            "INSERT INTO github_reports (deployment_id, organisation_id, posted)"
            f" VALUES ('{deployment}', '{uuid}', '{{}}');"
            "INSERT INTO github_comments (organisation_id, repository, number, installation_id,"
            f" shown, noted_at) VALUES ('{uuid}', 'a/b', 1, {number}, '{{}}', now());"
            "INSERT INTO deploy_hooks (id, project_id, organisation_id, name, environment,"
            " secret_hash, generation, version)"
            f" VALUES ('{user}', '{project}', '{uuid}', 'h', 'production', 'x', 1, 1);"
            "INSERT INTO previews (id, project_id, organisation_id, repository, source, branch,"
            " from_fork, head_sha, state, expires_at, version)"
            f" VALUES ('{user}', '{project}', '{uuid}', 'a/b', 'pr-1', 'b', false, 'c',"
            " 'waiting', now(), 1);"
            "INSERT INTO triggers (id, project_id, organisation_id, kind, ref, message, actor,"
            " state, version)"
            f" VALUES ('{user}', '{project}', '{uuid}', 'manual', 'main', '', 'a', 'pending', 1);"
            f"INSERT INTO build_logs VALUES ('{build}', 1, now(), 'a line', '{uuid}');"
            "INSERT INTO dead_letters (id, stream, durable, sequence, subject, organisation_id,"
            " headers, payload, attempts, error_code, error_detail, state, version)"
            f" VALUES ('{user}', 's', '{user}', 1, 'x', '{uuid}',"
            " '{}', '', 1, 'c', 'd', 'open', 1)",
            tenant="*",
        )
        found.append(uuid)
    return found[0], found[1]


def test_every_table_with_an_organisation_has_a_policy(migrated_url: str) -> None:
    policies = execute(migrated_url, "SELECT tablename, policyname, cmd FROM pg_policies")
    assert [name for name, policy, command in sorted(policies)] == sorted(
        [*tenant_tables(migrated_url), "organisations"]
    )
    assert {(policy, command) for _, policy, command in policies} == {("tenant", "ALL")}


def test_policies_bind_the_owner_too(migrated_url: str) -> None:
    statement = "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity"
    assert sorted(name for (name,) in execute(migrated_url, statement)) == sorted(
        [*tenant_tables(migrated_url), "organisations"]
    )


def test_our_role_is_not_above_the_policies(migrated_url: str) -> None:
    statement = "SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
    assert execute(migrated_url, statement) == [(False,)]


async def test_without_a_tenant_there_are_no_rows(migrated_url: str, two: tuple[str, str]) -> None:
    for tenant in (None, ""):
        for table in [*tenant_tables(migrated_url), "organisations"]:
            assert execute(migrated_url, f"SELECT 1 FROM {table}", tenant=tenant) == []


async def test_a_tenant_sees_its_own_rows_only(migrated_url: str, two: tuple[str, str]) -> None:
    for uuid in two:
        for table in tenant_tables(migrated_url):
            statement = f"SELECT DISTINCT organisation_id::text FROM {table}"
            assert execute(migrated_url, statement, tenant=uuid) == [(uuid,)], table
        assert execute(migrated_url, "SELECT id::text FROM organisations", tenant=uuid) == [(uuid,)]


async def test_the_platform_sees_all(migrated_url: str, two: tuple[str, str]) -> None:
    for table in tenant_tables(migrated_url):
        statement = f"SELECT DISTINCT organisation_id::text FROM {table}"
        found = {uuid for (uuid,) in execute(migrated_url, statement, tenant="*")}
        assert found - {None} == set(two), table


async def test_a_tenant_cannot_write_for_another(migrated_url: str, two: tuple[str, str]) -> None:
    mine, theirs = two
    update = f"UPDATE projects SET name = 'taken' WHERE organisation_id = '{theirs}' RETURNING 1"
    assert execute(migrated_url, update, tenant=mine) == []
    give = f"UPDATE projects SET organisation_id = '{theirs}'"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(migrated_url, give, tenant=mine)


async def test_an_event_of_the_platform_is_not_for_tenants(
    migrated_url: str, work: UnitOfWork, two: tuple[str, str]
) -> None:
    statement = "SELECT count(*) FROM event_log WHERE organisation_id IS NULL"
    assert execute(migrated_url, statement, tenant="*") != [(0,)]
    assert execute(migrated_url, statement, tenant=two[0]) == [(0,)]
