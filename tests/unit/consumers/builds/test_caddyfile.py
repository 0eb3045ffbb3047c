"""The text of a site's Caddyfile; that Caddy obeys it is shown in tests/integration."""

from __future__ import annotations

import pytest

from consumers.builds.builders.caddyfile import COMMAND, ETAG_SUFFIX, PATH, caddyfile


def test_the_command_starts_the_file_that_is_written() -> None:
    assert f"--config {PATH} " in COMMAND


@pytest.mark.parametrize("fallback", [None, "/index.html"])
@pytest.mark.parametrize("root", ["", "public", "_site"])
def test_the_root_is_served_and_only_one_page_sites_fall_back(
    root: str, fallback: str | None
) -> None:
    text = caddyfile(root, fallback=fallback)
    assert f"root * {root or '.'}\n" in text
    assert ("try_files {path} {path}/ /index.html" in text) == (fallback is not None)


def test_our_own_files_and_hidden_ones_are_not_served() -> None:
    text = caddyfile("")
    assert "hide {args[:]} Procfile *" + ETAG_SUFFIX in text
    assert "import files .*" in text
    assert "%" not in text
