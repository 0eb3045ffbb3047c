"""What a developer and GitHub do: commit, and send the signed webhook."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producers.webhooks.signatures import sign

_IDENTITY = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


class Repository:
    """A git repository on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return self.path.as_uri()

    def commit(self, files: Mapping[str, str], *, message: str = "Change") -> str:
        """Replace all files; the new commit's SHA."""
        for old in self.path.iterdir():
            if old.name != ".git":
                old.unlink()
        for name, text in files.items():
            (self.path / name).write_text(text)
        self._git("add", "--all")
        self._git(*_IDENTITY, "commit", "--quiet", "--allow-empty", "--message", message)
        return self._git("rev-parse", "HEAD").strip()

    def _git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self.path), *arguments], check=True, capture_output=True, text=True
        ).stdout


def push_body(repo: str, sha: str, url: str, *, ref: str = "refs/heads/main") -> bytes:
    """The body that GitHub sends after a push, as far as Zeitwork reads it."""
    return json.dumps(
        {
            "ref": ref,
            "before": "0" * 40,
            "after": sha,
            "deleted": False,
            "repository": {"full_name": repo, "clone_url": url},
            "head_commit": {"id": sha, "message": "Change"},
            "pusher": {"name": "tester"},
        }
    ).encode()


def deliver(
    api_url: str, secret: str, body: bytes, *, guid: str | None = None, signature: str | None = None
) -> Answer:
    """Send a push webhook; signed with `secret` unless a signature is given."""
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": guid or str(uuid.uuid4()),
        "X-Hub-Signature-256": sign(secret, body) if signature is None else signature,
    }
    return request(f"{api_url}/api/v1/webhooks/github", method="POST", body=body, headers=headers)


def request(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One HTTP request; an error status is an answer too."""
    asked = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return Answer(answer.status, dict(answer.headers), answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, dict(error.headers), error.read().decode())


def visit(proxy_url: str, host: str, path: str = "/") -> Answer:
    """What a visitor of `host` sees."""
    return request(proxy_url.rstrip("/") + path, headers={"Host": host})


def json_of(answer: Answer) -> Any:
    return json.loads(answer.body)
