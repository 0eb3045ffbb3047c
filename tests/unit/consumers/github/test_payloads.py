"""What repository and installation webhooks say."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.github import payloads
from zeitwork.errors import MalformedBody


def repository(changes: dict[str, Any] | None, **more: Any) -> bytes:
    told = {"id": 1, "full_name": "Acme/Store", **more}
    return json.dumps({"action": "renamed", "repository": told, "changes": changes or {}}).encode()


@pytest.mark.parametrize(
    ("changes", "previous"),
    [
        (None, None),
        ({"topics": {"from": []}}, None),
        ({"repository": {"name": {"from": "Shop"}}}, "acme/shop"),
        ({"owner": {"from": {"user": {"login": "Ann", "id": 2}}}}, "ann/store"),
        ({"owner": {"from": {"organization": {"login": "Globex"}}}}, "globex/store"),
    ],
)
def test_the_name_before_the_change(changes: dict[str, Any] | None, previous: str | None) -> None:
    assert payloads.repository(repository(changes)).previous == previous


@pytest.mark.parametrize("said", ["2026-01-02T03:04:05Z", 1767323045, "2026-01-02T04:04:05+01:00"])
def test_times_come_as_text_and_as_seconds(said: object) -> None:
    told = payloads.repository(repository(None, updated_at=said)).repository
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert told.updated_at == moment
    assert (
        payloads.as_of(None, told.updated_at, received=datetime.max.replace(tzinfo=UTC)) == moment
    )
    assert payloads.as_of(None, received=moment) == moment


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"action": "renamed"}', b"[" * 100_000])
def test_what_is_no_payload_is_malformed(body: bytes) -> None:
    for parse in (payloads.repository, payloads.installation):
        with pytest.raises(MalformedBody):
            parse(body)
