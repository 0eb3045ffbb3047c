"""`secrets.json`: the platform's own credentials, made at the first start and kept."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from cli import private_files
from zeitwork import ids, sealing
from zeitwork.errors import InvalidSettings


@dataclass(frozen=True, slots=True)
class Secrets:
    """Each is a random token. The embedded servers keep theirs beside the data that they open.

    Attributes:
        secret_keys: the ring that seals variables, as in ZEITWORK_SECRET_KEYS; the first one seals.
    """

    api_token: str = field(repr=False)
    node_token: str = field(repr=False)
    github_webhook_secret: str = field(repr=False)
    secret_keys: str = field(repr=False)
    hook_key: str = field(repr=False)


def ensure(path: Path) -> Secrets:
    """The secrets in the file; what is missing is made and written.

    Raises:
        InvalidSettings: the file is not readable as ours.
    """
    try:
        kept = json.loads(path.read_text())
        path.chmod(private_files.FILE_MODE)
    except FileNotFoundError:
        kept = {}
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{path} cannot be read; repair it, or remove it") from error
    if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
        raise InvalidSettings(f"{path} does not hold secrets by name; repair it, or remove it")
    secrets = Secrets(
        **{item.name: kept.get(item.name) or _fresh(item.name) for item in fields(Secrets)}
    )
    if asdict(secrets) != kept:
        private_files.write(path, json.dumps(asdict(secrets), indent=2) + "\n")
    return secrets


def add_key(path: Path) -> str:
    """Put a new key in front of the ring in the file, once the platform has made it; its id.

    Raises:
        InvalidSettings: there is no such file, or it is not readable as ours.
    """
    if not path.exists():
        raise InvalidSettings(f"{path} does not exist: the first `zeitwork up` makes it.")
    secrets = ensure(path)
    key = sealing.new_key()
    changed = replace(secrets, secret_keys=f"{key.text},{secrets.secret_keys}")
    private_files.write(path, json.dumps(asdict(changed), indent=2) + "\n")
    return key.id


def _fresh(name: str) -> str:
    return sealing.new_key().text if name == "secret_keys" else ids.token()
