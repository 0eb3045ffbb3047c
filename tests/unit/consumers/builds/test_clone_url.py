"""Addresses to clone from: which are taken, and that their credentials are never shown."""

from __future__ import annotations

import pytest

from consumers.builds import clone_url
from zeitwork.errors import SourceUnavailable

SECRET = "s3cret"


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/acme/shop.git",
        "https://git.example:8443/acme/shop",
        "http://[::1]:3000/acme/shop.git",
        "ssh://git@github.com/acme/shop.git",
        "ssh://github.com/acme/shop.git",
        "git@github.com:acme/shop.git",
        "git://git.example/shop.git",
        "file:///srv/git/shop.git",
    ],
)
def test_an_address_without_credentials_stays_as_it_is(address: str) -> None:
    assert clone_url.parse(address) == clone_url.Remote(address)


@pytest.mark.parametrize(
    ("address", "login"),
    [
        (f"https://ann:{SECRET}@h.example/a.git", f"https://ann:{SECRET}@h.example/a.git"),
        (f"https://{SECRET}@h.example/a.git", f"https://{SECRET}:@h.example/a.git"),
        (f"https://ann:{SECRET}@h.example:8443/a", f"https://ann:{SECRET}@h.example:8443/a"),
        ("https://ann:s3@cret@h.example/a", "https://ann:s3%40cret@h.example/a"),
        ("https://ann:s3%2Fcret@h.example/a", "https://ann:s3%2Fcret@h.example/a"),
    ],
)
def test_credentials_leave_the_address(address: str, login: str) -> None:
    remote = clone_url.parse(address)
    assert remote.login == login
    assert "@" not in remote.address
    assert "cret" not in remote.address
    assert "cret" not in repr(remote)


def test_only_http_takes_a_password_along() -> None:
    remote = clone_url.parse(f"ssh://git:{SECRET}@h.example/a.git")
    assert remote == clone_url.Remote("ssh://git@h.example/a.git")
    assert clone_url.parse(f"git://ann:{SECRET}@h.example/a").login is None


@pytest.mark.parametrize(
    "address",
    [
        "",
        "/srv/git/shop.git",
        "../shop",
        "shop.git",
        "ext::sh -c true",
        "ext::sh",
        "fd::17",
        "ftp://h.example/a",
        "https://",
        "https:///a.git",
        "https://h.example",
        "https://h.example/",
        "https://-oProxyCommand=x/a",
        "ssh://-oProxyCommand=x/a",
        "ssh://-l@h.example/a",
        "git@-oProxyCommand=x:a",
        "git@h.example:-x",
        "-u@h.example:a",
        "--upload-pack=x",
        "https://h.example:port/a",
        "https://h.example:99999/a",
        "https://h.example/a\nb",
        "https://h.example/a%0ab",
        "https://h.example/a b",
        "file://host/srv/a",
        "file:srv/a",
        "https://[::1/a",
        "https://h.example/" + "a" * 3000,
    ],
)
def test_what_git_could_misread_is_refused(address: str) -> None:
    with pytest.raises(SourceUnavailable):
        clone_url.parse(address)


@pytest.mark.parametrize("mark", ['"', "\\"])
def test_what_would_end_a_value_in_gits_files_is_refused(mark: str) -> None:
    with pytest.raises(SourceUnavailable):
        clone_url.parse(f"https://u:p@h.example/x{mark}][core]fsmonitor=/tmp/evil;")


@pytest.mark.parametrize(
    "address",
    [
        f"ftp://ann:{SECRET}@h.example/a",
        f"https://ann:{SECRET}/x@h.example/a",
        f"https://ann:{SECRET}@h.example",
        f"ann:{SECRET}@h.example/a",
        f"https://ann:x@{SECRET}@h_.example_/a",
        f"https://ann:{SECRET}@h.example/a b",
        f"https://{SECRET}@h.example:port/a",
    ],
)
def test_a_refusal_does_not_repeat_the_password(address: str) -> None:
    with pytest.raises(SourceUnavailable) as caught:
        clone_url.parse(address)
    assert SECRET not in caught.value.message
