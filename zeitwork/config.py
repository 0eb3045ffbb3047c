"""Every setting of every process, by section, validated at start.

Order: arguments, then environment (`ZEITWORK_DATABASE_URL`, nested with two underscores:
`ZEITWORK_API__PORT`), then defaults. Unknown `ZEITWORK_` variables are refused.
"""

from __future__ import annotations

import difflib
import os
import platform
import shutil
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from zeitwork import blob_places, failpoints
from zeitwork.blob_places import DiskPlace, Place
from zeitwork.errors import InvalidSettings

ENV_PREFIX = "ZEITWORK_"


class Section(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiSettings(Section):
    """The REST API, the webhook intake, the outbox relay."""

    host: str = "127.0.0.1"
    port: int = 8080
    ops_host: str = "127.0.0.1"
    ops_port: int = 9080
    outbox_max_rows: int = Field(
        100_000, ge=1, description="with so many events unpublished, writes answer 503"
    )
    outbox_max_age_seconds: float = Field(
        30.0, gt=0, description="with an event unpublished for longer, the process is not ready"
    )


GITHUB_WEB_URL: Final = "https://github.com"


class ConsumersSettings(Section):
    """Handlers, builds and reconcilers."""

    ops_host: str = "127.0.0.1"
    ops_port: int = 9081
    builder_name: str = Field(
        default_factory=platform.node,
        min_length=1,
        max_length=253,
        description="processes of one name, by default of one machine, share its builder slots",
    )
    build_slots: int = Field(2, ge=1, description="builds at once on this machine")
    builds_per_organisation: int = Field(
        8, ge=1, description="builds of one organisation at once, on all machines together"
    )
    build_timeout_seconds: float = 900.0
    build_memory_mib: int = 2048
    build_cpus: float = Field(2.0, gt=0, description="cores for one build")
    build_processes: int = Field(1024, ge=16, description="processes and threads of one build")
    docker_engine: str = Field(
        "",
        pattern=r"^(unix:///\S+|tcp://[^\s/]+:\d+)?$",
        description="builds Dockerfiles: unix:///PATH or tcp://HOST:PORT; empty: none",
    )
    docker_build_network: Literal["bridge", "host", "none"] = Field(
        "bridge", description="network of the commands of a Dockerfile"
    )


class ProxySettings(Section):
    """The edge."""

    host: str = "127.0.0.1"
    port: int = 8000
    ops_host: str = "127.0.0.1"
    ops_port: int = 9082
    reuse_port: bool = Field(default=False, description="let several proxies share the port")
    client_connections: int = Field(
        1024, ge=1, description="at once from one address, in IPv6 from one network of 64 bits"
    )
    client_rate: float = Field(
        0.0, ge=0, description="requests per second of one client to one project; 0: no limit"
    )
    project_rate: float = Field(
        0.0, ge=0, description="requests per second of all clients to one project; 0: no limit"
    )


class GitHubSettings(Section):
    """The GitHub App; without `app_id` GitHub is only heard (webhooks), never asked."""

    app_id: str = Field("", description="the App's ID, or its client ID")
    private_key_file: Path | None = Field(None, description="its private key, a PEM file")
    api_url: str = Field(
        "https://api.github.com", description="GitHub Enterprise: https://HOST/api/v3"
    )
    web_url: str = Field(GITHUB_WEB_URL, description="where repositories are cloned from")
    reports: frozenset[Literal["checks", "comments", "deployments", "statuses"]] = Field(
        frozenset({"checks", "comments", "deployments", "statuses"}),
        description="what is posted about deployments, as a JSON list",
    )
    logs_url: str = Field(
        "",
        pattern=r"^(https?://\S+)?$",
        description="where people read logs, with {deployment} and {build} for the ids",
    )
    redelivery_hours: float = Field(
        72.0, ge=0, le=72, description="how far back failed webhooks are asked for again; 0: never"
    )

    def logs_of(self, deployment_id: str, build_id: str | None) -> str:
        """Where the logs of a deployment are: an address, or the command that prints them."""
        if not self.logs_url:
            return f"zeitwork logs {deployment_id}"
        named = self.logs_url.replace("{deployment}", deployment_id)
        return named.replace("{build}", build_id or "")

    @model_validator(mode="after")
    def _whole(self) -> GitHubSettings:
        if bool(self.app_id) != (self.private_key_file is not None):
            raise ValueError("app_id and private_key_file belong together: set both or neither")
        return self


class NodeSettings(Section):
    """The agent that runs instances."""

    name: str = "local"
    address: str = Field("127.0.0.1", description="where the proxy reaches instances")
    ops_host: str = "127.0.0.1"
    ops_port: int = 9083
    api_url: str = "http://127.0.0.1:8080"
    port_range: tuple[int, int] = (20000, 29999)
    sandbox: Literal["auto", "off"] = "auto"
    keep_instances: bool = Field(
        default=True,
        description="leave instances running when the agent stops, to adopt them later",
    )
    heartbeat_seconds: float = 5.0


class Settings(BaseSettings):
    """All settings; each process reads its own section."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
        extra="forbid",
        frozen=True,
    )

    environment: Literal["development", "staging", "production", "test"] = "development"
    data_dir: Path = Field(
        default_factory=lambda: state_dir()  # noqa: PLW0108 - defined below
    )
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    database_url: SecretStr = SecretStr("postgresql://zeitwork@127.0.0.1:5432/zeitwork")
    nats_url: SecretStr = Field(
        SecretStr("nats://127.0.0.1:4222"), description="several servers separated by commas"
    )
    nats_monitor_url: SecretStr | None = Field(
        None, description="its monitoring port: durability is checked there at start"
    )
    nats_replicas: Literal[1, 3, 5] = Field(1, description="servers that hold each stream")
    cache_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")

    blob_store: str = Field(
        "",
        description="disk:///PATH, s3://BUCKET/PREFIX or nats://BUCKET; empty: blobs in data_dir",
    )
    blob_store_access_key: str = Field(
        "", description="for S3; without it, the environment's or the machine's credentials serve"
    )
    blob_store_secret_key: SecretStr = SecretStr("")

    api_token: SecretStr = SecretStr("")
    node_token: SecretStr = SecretStr("")
    github_webhook_secret: SecretStr = SecretStr("")
    secret_keys: SecretStr = Field(
        SecretStr(""),
        description="ID:KEY pairs separated by commas, for variables at rest; the first seals",
    )
    hook_key: SecretStr = Field(
        SecretStr(""), description="signing keys of webhooks follow from it; without it, none do"
    )

    base_domain: str = Field("localhost", description="projects live at NAME.base_domain")
    public_url: str = Field(
        "http://localhost:8000", description="scheme and port that visitors use"
    )
    health_timeout_seconds: float = Field(60.0, description="an instance must be ready within")
    drain_seconds: float = Field(
        5.0, description="an instance that lost its routes keeps running for this long"
    )
    artifacts_kept: int = Field(
        10, ge=0, description="of each environment, the last that served; what runs comes on top"
    )
    artifact_grace_hours: float = Field(
        24.0, gt=0, description="an artifact is without use for this long before it is deleted"
    )

    api: ApiSettings = ApiSettings()
    consumers: ConsumersSettings = ConsumersSettings()
    github: GitHubSettings = GitHubSettings()
    proxy: ProxySettings = ProxySettings()
    node: NodeSettings = NodeSettings()

    failpoint: str = Field("", description="where fault tests end this process; not in production")

    @property
    def blob_place(self) -> Place:
        """Where blobs are stored."""
        if not self.blob_store:
            return DiskPlace(self.data_dir / "blobs")
        return blob_places.parse(
            self.blob_store,
            access_key=self.blob_store_access_key,
            secret_key=self.blob_store_secret_key,
        )

    def url_of(self, host: str) -> str:
        """The address of a host for visitors: scheme and port of the public URL."""
        public = urlsplit(self.public_url)
        port = f":{public.port}" if public.port else ""
        return f"{public.scheme}://{host}{port}/"

    @model_validator(mode="after")
    def _no_faults_in_production(self) -> Settings:
        if self.failpoint and self.environment == "production":
            raise InvalidSettings("ZEITWORK_FAILPOINT kills processes; it is not for production.")
        if self.failpoint:
            failpoints.parse(self.failpoint)
        return self

    @model_validator(mode="after")
    def _blobs_have_a_place(self) -> Settings:
        _ = self.blob_place
        return self


def load(**overrides: Any) -> Settings:
    """Settings from environment and `overrides`.

    Raises:
        InvalidSettings: an unknown variable or a value that does not fit; the message names it.
    """
    _refuse_unknown(Settings)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise InvalidSettings(f"Settings are not usable: {problems}") from error


def _refuse_unknown(model: type[BaseSettings]) -> None:
    known = set(_variables(model, ENV_PREFIX))
    # The client's own variables (cli/client.py) share the prefix.
    known |= {f"{ENV_PREFIX}API_URL"}
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise InvalidSettings(f"Unknown setting {name}.{hint}")


def _variables(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(f"{prefix}{name.upper()}")
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            names += _variables(annotation, f"{prefix}{name.upper()}__")
    return names


def environment(name: str) -> str | None:
    """A variable that is not ours (OTEL_…, NO_COLOR); ours are fields of Settings."""
    return os.environ.get(name)


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a child of ours: this process's, changed by `extra`."""
    return {**os.environ, **extra}


def search_path() -> str:
    """PATH, for finding programs to run inside builds."""
    return os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")


def find_program(name: str) -> str | None:
    return shutil.which(name, path=search_path())


def state_dir() -> Path:
    """The user's state directory for Zeitwork (XDG base directory specification)."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "zeitwork"


def config_home() -> Path:
    """The user's directory for settings of programs (XDG base directory specification)."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return Path(base) if base else Path.home() / ".config"
