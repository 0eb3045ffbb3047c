"""The App's key: what it signs, and files that hold no key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from zeitwork import clock
from zeitwork.clock import FakeClock
from zeitwork.errors import InvalidSettings
from zeitwork.github import key as keys

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
ENCRYPTED = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
CURVE = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)


def test_a_token_names_the_app_and_lives_for_less_than_ten_minutes(tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_bytes(PEM)
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    with clock.using(FakeClock(moment)):
        token = keys.read("4711", path).token()
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    claims = jwt.decode(token, RSA.public_key(), ["RS256"], options={"verify_exp": False})
    assert claims["iss"] == "4711"
    assert claims["iat"] == moment.timestamp() - 60
    assert claims["exp"] - claims["iat"] <= 600


@pytest.mark.parametrize("content", [b"", PEM[:200], b"secret words", ENCRYPTED, CURVE])
def test_a_file_without_a_usable_key_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "app.pem"
    path.write_bytes(content)
    with pytest.raises(InvalidSettings, match="ZEITWORK_GITHUB__PRIVATE_KEY_FILE") as caught:
        keys.read("4711", path)
    assert "secret words" not in str(caught.value)


def test_a_file_that_is_not_there_is_named_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="cannot be read: No such file"):
        keys.read("4711", tmp_path / "none.pem")
