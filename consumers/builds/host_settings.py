"""The settings of this machine that builds and git may know: indexes, proxies, certificates."""

from __future__ import annotations

from pathlib import Path

from zeitwork import config

_NETWORK = (
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
    "http_proxy", "https_proxy", "all_proxy", "no_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE",
)  # fmt: skip
_INSTALLERS = (
    "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_CERT", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
    "UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS",
    "UV_INDEX_STRATEGY", "UV_INSECURE_HOST", "UV_NATIVE_TLS", "UV_SYSTEM_CERTS", "UV_HTTP_TIMEOUT",
    "NPM_CONFIG_REGISTRY", "npm_config_registry", "NPM_CONFIG_CAFILE", "npm_config_cafile",
    "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
_GIT = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSH_AUTH_SOCK")
# uv has names of its own for what pip's users have set.
_UV_FROM_PIP = {"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "UV_INDEX": "PIP_EXTRA_INDEX_URL"}
_VISIBLE = (Path("/usr"), Path("/etc/ssl"), Path("/etc/pki"), Path("/etc/ca-certificates"))


def for_builds() -> dict[str, str]:
    """Variables that installers inside a build follow."""
    found = _present((*_NETWORK, *_INSTALLERS))
    if not any(name.startswith("UV_") and "INDEX" in name for name in found):
        found |= {name: found[pip] for name, pip in _UV_FROM_PIP.items() if pip in found}
    return found


def for_git() -> dict[str, str]:
    """Variables that git follows when it fetches."""
    return _present((*_NETWORK, *_GIT))


def paths_in(settings: dict[str, str]) -> list[Path]:
    """Files and directories that `settings` name and a sandbox does not show by itself."""
    named = [Path(value) for value in settings.values() if value.startswith("/")]
    return [
        path
        for path in named
        if path.exists() and not any(path.is_relative_to(visible) for visible in _VISIBLE)
    ]


def _present(names: tuple[str, ...]) -> dict[str, str]:
    values = {name: config.environment(name) for name in names}
    return {name: value for name, value in values.items() if value}
