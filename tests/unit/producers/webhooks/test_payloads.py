"""What is read from GitHub's push payload."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from events.github import PushReceived
from producers.webhooks import payloads
from zeitwork.errors import MalformedBody

SHA = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
PUSH: dict[str, Any] = {
    "ref": "refs/heads/main",
    "before": "0" * 40,
    "after": SHA,
    "repository": {
        "id": 35129377,
        "name": "public-repo",
        "full_name": "Baxterthehacker/Public-Repo",
        "clone_url": "https://github.com/Baxterthehacker/Public-Repo.git",
        "size": 0,
    },
    "pusher": {"name": "baxterthehacker", "email": "baxter@example.org"},
    "installation": {"id": 12345678901},
    "head_commit": {"id": SHA, "message": "Update README.md\n\nwith two lines"},
    "deleted": False,
    "forced": True,
    "commits": [{"id": SHA}],
}


def read(**changes: Any) -> PushReceived:
    return payloads.push({**copy.deepcopy(PUSH), **changes}, delivery_id="dlv_1")


def test_a_push() -> None:
    assert read() == PushReceived(
        delivery_id="dlv_1",
        github_repo="baxterthehacker/public-repo",
        github_installation_id=12345678901,
        ref="refs/heads/main",
        after=SHA,
        deleted=False,
        clone_url="https://github.com/Baxterthehacker/Public-Repo.git",
        commit_message="Update README.md\n\nwith two lines",
        pusher="baxterthehacker",
    )


def test_a_repository_s_own_webhook_knows_no_installation() -> None:
    whole = {name: value for name, value in PUSH.items() if name != "installation"}
    assert payloads.push(whole, delivery_id="dlv_1").github_installation_id is None
    assert read(installation=None).github_installation_id is None


def test_a_deleted_branch_has_no_commit() -> None:
    said = read(deleted=True, after="0" * 40, head_commit=None)
    assert (said.deleted, said.after, said.commit_message) == (True, "0" * 40, "")


def test_a_tag_is_a_push_too() -> None:
    assert read(ref="refs/tags/v1.0").ref == "refs/tags/v1.0"


def test_a_repository_may_count_in_sha256() -> None:
    assert read(after="a" * 64).after == "a" * 64


def test_credentials_do_not_get_into_the_event() -> None:
    repository = {**PUSH["repository"], "clone_url": "https://x-token:s3cret@github.com/a/b.git"}
    assert read(repository=repository).clone_url == "https://github.com/a/b.git"


def test_a_long_message_is_cut() -> None:
    assert read(head_commit={"message": "\u00e9" * 70_000}).commit_message == "\u00e9" * 500


def test_what_utf8_cannot_hold_is_replaced() -> None:
    body = json.loads(json.dumps(PUSH).replace("Update", r"\ud83d Up\u0000date"))
    said = payloads.push(body, delivery_id="dlv_1")
    assert said.commit_message.startswith("? Up\x00date")
    assert said.encode()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"ref": None}, "ref"),
        ({"ref": "main"}, "ref"),
        ({"ref": "refs/" + "x" * 1024}, "ref"),
        ({"ref": ["refs/heads/main"]}, "ref"),
        ({"after": "HEAD"}, "after"),
        ({"after": SHA + "\n"}, "after"),
        ({"after": SHA.upper()}, "after"),
        ({"after": "--upload-pack=x"}, "after"),
        ({"deleted": "perhaps"}, "deleted"),
        ({"repository": None}, "repository"),
        ({"repository": {"full_name": "acme/shop"}}, "repository.clone_url"),
        ({"repository": {"full_name": "acme", "clone_url": "x"}}, "repository.full_name"),
        ({"repository": {"full_name": "a/b/c", "clone_url": "x"}}, "repository.full_name"),
        ({"repository": {"full_name": "a /b", "clone_url": "x"}}, "repository.full_name"),
        ({"installation": {"id": None}}, "installation.id"),
        ({"pusher": {"name": "x" * 201}}, "pusher.name"),
        ({"head_commit": "a commit"}, "head_commit"),
    ],
)
def test_a_field_at_fault_is_named(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(MalformedBody, match=rf"^push payload: {where}: "):
        read(**changes)


@pytest.mark.parametrize("body", [None, [], "text", {}])
def test_anything_else_is_no_push(body: object) -> None:
    with pytest.raises(MalformedBody):
        payloads.push(body, delivery_id="dlv_1")
