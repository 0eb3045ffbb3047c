"""GitHub's signature scheme."""

from __future__ import annotations

import pytest

from producers.webhooks.signatures import sign, verify
from zeitwork.errors import BadSignature

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
SECRET = "It's a Secret to Everybody"
BODY = b"Hello, World!"
SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def test_github_s_own_example() -> None:
    assert sign(SECRET, BODY) == SIGNATURE
    verify(SECRET, BODY, SIGNATURE)


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        (BODY, None),
        (BODY, ""),
        (BODY, SIGNATURE.removeprefix("sha256=")),
        (BODY, SIGNATURE.replace("sha256=", "sha1=")),
        (BODY, SIGNATURE.replace("sha256=", "SHA256=")),
        (BODY, SIGNATURE[:-1]),
        (BODY, SIGNATURE + "\n"),
        (BODY, "sha256=\N{FULLWIDTH DIGIT SEVEN}" + SIGNATURE.removeprefix("sha256=7")),
        (BODY, "sha256=\udcff"),
        (BODY + b"\n", SIGNATURE),
        (b"", SIGNATURE),
    ],
)
def test_anything_else_is_refused(body: bytes, signature: str | None) -> None:
    with pytest.raises(BadSignature) as refusal:
        verify(SECRET, body, signature)
    assert SECRET not in refusal.value.message


def test_the_secret_may_be_any_text() -> None:
    verify("pa\u00df \N{ROCKET}", BODY, sign("pa\u00df \N{ROCKET}", BODY))
