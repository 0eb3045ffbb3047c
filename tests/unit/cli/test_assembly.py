from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from cli import assembly
from cli.assembly import Backends
from cli.ports import Port
from cli.scaling import SERVICES
from cli.secrets_file import Secrets
from zeitwork import config
from zeitwork.config import ENV_PREFIX, Settings

MADE = Secrets("made-api", "made-node", "made-webhook", "made-keys", "made-hook")
BACKENDS = Backends(SecretStr("nats://n"), SecretStr("postgresql://p"), SecretStr("redis://r"))
PORTS = {
    name: Port(name, 1000, 1000 + number)
    for number, name in enumerate(
        ["api", "proxy", *(f"{service} ops" for service in SERVICES)], start=1
    )
}


def environment(settings: Settings) -> dict[str, str]:
    return assembly.environment(
        settings,
        data_dir=Path("/data"),
        ports=PORTS,
        backends=BACKENDS,
        secrets=MADE,
        log_format="json",
    )


def test_services_understand_every_variable_that_they_get() -> None:
    assert set(environment(Settings())) <= set(config._variables(Settings, ENV_PREFIX))


def test_the_operators_secrets_win_over_those_that_were_made() -> None:
    settings = Settings(api_token=SecretStr("mine"))
    assert assembly.effective_secrets(settings, MADE) == Secrets(
        "mine", "made-node", "made-webhook", "made-keys", "made-hook"
    )


@pytest.mark.parametrize("url", ["nats_url", "database_url", "cache_url"])
def test_a_server_is_ours_to_start_unless_the_operator_named_one(url: str) -> None:
    assert assembly.embeds(Settings(), url)
    named = Settings.model_validate({url: "redis://elsewhere"})
    assert not assembly.embeds(named, url)


def test_visitors_are_told_the_port_that_was_got() -> None:
    assert assembly.public_url(Settings(), PORTS) == "http://localhost:1002"
    named = Settings(public_url="https://apps.example.org")
    assert assembly.public_url(named, PORTS) == "https://apps.example.org"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1001"),
        ("0.0.0.0", "http://127.0.0.1:1001"),
        ("::", "http://[::1]:1001"),
    ],
)
def test_a_listener_on_every_address_is_reached_on_the_loopback(host: str, url: str) -> None:
    assert assembly.local_url(host, PORTS["api"]) == url


def test_each_service_is_asked_on_its_own_port() -> None:
    asked = {spec.name: spec.ready_url for spec in assembly.services(Settings(), PORTS)}
    assert list(asked) == list(SERVICES)
    assert asked == {
        name: f"http://127.0.0.1:{PORTS[f'{name} ops'].got}/readyz" for name in SERVICES
    }
