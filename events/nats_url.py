"""The NATS setting: one URL or several of one cluster, separated by commas."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from zeitwork.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Servers without credentials, and the credentials for all of them.

    A client learns of further servers from the cluster, without credentials; those that stand in a
    URL count for that URL only, and it would be turned away by the others.
    """

    servers: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @override
    def __str__(self) -> str:
        return ", ".join(urlsplit(server).netloc for server in self.servers)


def parse(url: str) -> Endpoint:
    """Read the setting; the first URL with credentials gives them for all.

    Raises:
        InvalidSettings: not URLs of NATS servers.
    """
    servers, secrets = [], []
    for text in url.split(","):
        parts = urlsplit(text.strip())
        if parts.scheme not in {"nats", "tls", "ws", "wss"} or not parts.hostname:
            raise InvalidSettings("ZEITWORK_NATS_URL must hold URLs like nats://TOKEN@host:4222")
        servers.append(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        if parts.username:
            secrets.append((unquote(parts.username), parts.password and unquote(parts.password)))
    if not secrets:
        return Endpoint(tuple(servers))
    user, password = secrets[0]
    if password is None:
        return Endpoint(tuple(servers), token=user)
    return Endpoint(tuple(servers), user=user, password=password)
