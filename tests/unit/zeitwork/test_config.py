"""Settings: where they come from, and that a mistake is named at start."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from zeitwork import config
from zeitwork.config import ApiSettings, GitHubSettings, Settings, load
from zeitwork.errors import InvalidSettings


def test_defaults_run_on_one_machine() -> None:
    settings = load()
    assert settings.environment == "development"
    assert settings.api.host == "127.0.0.1"
    assert settings.nats_url.get_secret_value().startswith("nats://")


def test_the_environment_sets_fields_and_parts_of_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_BASE_DOMAIN", "example.org")
    monkeypatch.setenv("ZEITWORK_API__PORT", "9999")
    settings = load()
    assert settings.base_domain == "example.org"
    assert settings.api == ApiSettings(port=9999)


def test_arguments_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_BASE_DOMAIN", "example.org")
    assert load(base_domain="example.net").base_domain == "example.net"


def test_an_unknown_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZEITWORK_DATABSE_URL", "postgresql://x")
    with pytest.raises(InvalidSettings, match="Did you mean ZEITWORK_DATABASE_URL"):
        load()


def test_an_unknown_part_of_a_section_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_API__PROT", "1")
    with pytest.raises(InvalidSettings, match="ZEITWORK_API__PROT"):
        load()


def test_variables_of_others_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORKS_X", "1")
    monkeypatch.setenv("API_PORT", "1")
    assert load() == load()


def test_a_value_that_does_not_fit_names_its_field_and_hides_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ZEITWORK_API__PORT", "a-secret-by-mistake")
    with pytest.raises(InvalidSettings, match=r"api\.port") as caught:
        load()
    assert "a-secret-by-mistake" not in str(caught.value)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InvalidSettings) as caught:
        load(log_level="loud", environment="moon", flavour="mint")
    for name in ("log_level", "environment", "flavour"):
        assert name in str(caught.value)


def test_settings_do_not_change() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.base_domain = "x"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.api.port = 1  # type: ignore[misc]


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZEITWORK_API_TOKEN", "hidden-token")
    monkeypatch.setenv("ZEITWORK_DATABASE_URL", "postgresql://u:hidden-password@h/d")
    settings = load()
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hidden" not in text
    assert settings.api_token.get_secret_value() == "hidden-token"


def test_what_holds_a_secret_is_a_secret() -> None:
    for name, field in Settings.model_fields.items():
        if name.endswith(("_token", "_secret", "_password")) or (
            name.endswith("_url") and name != "public_url"
        ):
            assert "Secret" in str(field.annotation), name


def test_data_live_in_the_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load().data_dir == tmp_path / "zeitwork"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert load().data_dir == tmp_path / "home/.local/state/zeitwork"


def test_a_child_gets_our_environment_and_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    child = config.child_environment(ADDED="1")
    assert (child["INHERITED"], child["ADDED"]) == ("yes", "1")
    assert config.environment("INHERITED") == "yes"
    assert config.environment("ABSENT_HERE") is None


def test_programs_are_found_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert config.find_program("tool") == str(program)
    assert config.find_program("no-such-tool") is None
    assert config.search_path() == str(tmp_path)


@pytest.mark.parametrize("half", ["APP_ID", "PRIVATE_KEY_FILE"])
def test_the_github_app_is_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, half: str) -> None:
    monkeypatch.setenv(f"ZEITWORK_GITHUB__{half}", "4711")
    with pytest.raises(InvalidSettings, match="belong together"):
        load()
    monkeypatch.setenv("ZEITWORK_GITHUB__APP_ID", "4711")
    monkeypatch.setenv("ZEITWORK_GITHUB__PRIVATE_KEY_FILE", "app.pem")
    monkeypatch.setenv("ZEITWORK_GITHUB__REPORTS", '["statuses"]')
    assert load().github.reports == {"statuses"}


def test_logs_are_at_an_address_or_printed_by_a_command() -> None:
    assert GitHubSettings().logs_of("dep_1", "bld_1") == "zeitwork logs dep_1"
    known = GitHubSettings(logs_url="https://zw.test/{deployment}/builds/{build}")
    assert known.logs_of("dep_1", "bld_1") == "https://zw.test/dep_1/builds/bld_1"
