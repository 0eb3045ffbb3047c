"""`python -m examples.fake_github REPOSITORY…`: serve local git repositories as a GitHub App sees them.

Prints the settings that Zeitwork needs, then sends a push for each Enter.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

from examples.fake_github.server import FakeGitHub
from examples.fake_github.state import Installation, Repository


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.fake_github", description=__doc__)
    parser.add_argument("repositories", nargs="+", type=Path, help="git repositories")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--owner", default="acme")
    parser.add_argument("--webhook", default="http://127.0.0.1:8080/api/v1/webhooks/github")
    parser.add_argument("--secret", default="not-a-secret", help="the webhook secret")
    parser.add_argument("--key", type=Path, default=Path("fake-github.pem"), help="is written")
    return parser.parse_args()


async def main() -> None:
    asked = _arguments()
    github = FakeGitHub(secret=asked.secret, webhook_url=asked.webhook)
    await github.start(port=asked.port)
    asked.key.touch(mode=0o600)
    asked.key.write_bytes(github.private_key)
    served = {}
    for path in asked.repositories:
        name = f"{asked.owner}/{path.resolve().name}"
        served[github.add_repository(name, path=path.resolve())] = path
    installation = github.install(asked.owner)
    print(f"export ZEITWORK_GITHUB__API_URL={github.url} ZEITWORK_GITHUB__WEB_URL={github.url}")
    print(f"export ZEITWORK_GITHUB__APP_ID={github.app_id}")
    print(f"export ZEITWORK_GITHUB__PRIVATE_KEY_FILE={asked.key.resolve()}")
    print(f"export ZEITWORK_GITHUB_WEBHOOK_SECRET={asked.secret}")
    print(f"# installation {installation.id} on {asked.owner}; Enter pushes what is committed")
    with contextlib.suppress(EOFError):
        while True:
            await asyncio.to_thread(input)
            for repository, path in served.items():
                await _push(github, repository, installation, path)
    await github.stop()


async def _push(
    github: FakeGitHub, repository: Repository, installation: Installation, path: Path
) -> None:
    head = subprocess.run(
        ["git", "-C", str(path), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    delivery = await github.say_push(repository, head, installation=installation)
    print(f"{repository.full_name} {head[:12]}: {delivery.status_code} {delivery.status}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
