"""What is read from GitHub's payloads."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from events.event import MAX_EVENT_BYTES
from events.github import PullRequestReceived, PushReceived
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
        github_repo_id=35129377,
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


PULL_REQUEST: dict[str, Any] = {
    "action": "synchronize",
    "number": 7,
    "pull_request": {
        "number": 7,
        "state": "open",
        "title": "Add a page [skip deploy]",
        "draft": False,
        "updated_at": "2026-01-02T03:04:05Z",
        "user": {"login": "mallory", "id": 1},
        "head": {"ref": "page", "sha": SHA, "repo": {"full_name": "Mallory/Public-Repo"}},
        "base": {"ref": "main", "sha": "0" * 40},
    },
    "repository": PUSH["repository"],
    "installation": PUSH["installation"],
}


def read_pull(**changes: Any) -> PullRequestReceived:
    body = copy.deepcopy(PULL_REQUEST)
    body["pull_request"] |= changes
    return payloads.pull_request(body, delivery_id="dlv_1")


def test_a_pull_request() -> None:
    assert read_pull() == PullRequestReceived(
        delivery_id="dlv_1",
        action="synchronize",
        github_repo="baxterthehacker/public-repo",
        github_installation_id=12345678901,
        number=7,
        title="Add a page [skip deploy]",
        author="mallory",
        open=True,
        draft=False,
        head_sha=SHA,
        head_ref="page",
        head_repo="mallory/public-repo",
        base_ref="main",
        clone_url="https://github.com/Baxterthehacker/Public-Repo.git",
        changed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        skip_mark="[skip deploy]",
        github_repo_id=35129377,
    )


def test_a_fork_that_is_gone_and_a_user_who_is_gone() -> None:
    head = {**PULL_REQUEST["pull_request"]["head"], "repo": None}
    found = read_pull(head=head, user=None)
    assert (found.head_repo, found.author) == (None, "unknown")


@pytest.mark.parametrize(
    "changes", [{"head": {}}, {"number": 0}, {"updated_at": "soon"}, {"number": 2**40}]
)
def test_a_pull_request_of_the_wrong_form_is_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedBody, match="pull_request payload: pull_request"):
        read_pull(**changes)


def commit(*names: str) -> dict[str, Any]:
    return {"id": SHA, "added": list(names[:1]), "modified": list(names[1:2]), "removed": []}


@pytest.mark.parametrize(
    ("changes", "files"),
    [
        ({"commits": [commit("a", "b"), commit("b")]}, ("a", "b")),
        ({"commits": [commit("a")], "forced": True}, None),
        ({"commits": [commit("a")], "created": True}, None),
        ({"commits": []}, None),
        ({"commits": None}, None),
        ({"commits": [commit()]}, None),
        ({"commits": [commit("a")] * 2048}, None),
        ({"commits": [commit(f"f{n}") for n in range(1001)]}, None),
        ({"commits": [commit("x" * 20_000), commit("y" * 20_000)]}, None),
    ],
)
def test_changed_files_are_told_when_all_are_known(
    changes: dict[str, Any], files: tuple[str, ...] | None
) -> None:
    assert read(**{"forced": False, **changes}).files == files


def test_the_largest_list_of_files_fits_into_an_event() -> None:
    """Control characters take six times their room in JSON."""
    names = [commit("\x01" * 32 + f"{n:04}") for n in range(900)]
    found = read(forced=False, commits=names)
    assert found.files is not None
    assert len(found.files) == 900
    assert len(found.encode()) < MAX_EVENT_BYTES


def test_when_and_from_where_a_push_moved_its_branch() -> None:
    repository = {**PUSH["repository"], "pushed_at": 1_767_323_045}
    found = read(repository=repository, before="1" * 40)
    assert found.pushed_at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (found.before, read().before) == ("1" * 40, None)


@pytest.mark.parametrize(
    ("message", "mark"),
    [
        ("fix [skip ci]", "[skip ci]"),
        ("[CI SKIP] fix", "[ci skip]"),
        ("fix\n\n" + "x" * 1000 + "[no ci]", "[no ci]"),
        ("fix [skip deploy]", "[skip deploy]"),
        ("skip ci", None),
        ("[skip  ci]", None),
        ("[skip tests]", None),
    ],
)
def test_a_mark_is_found_in_the_whole_message(message: str, mark: str | None) -> None:
    found = read(head_commit={"id": SHA, "message": message})
    assert found.skip_mark == mark
