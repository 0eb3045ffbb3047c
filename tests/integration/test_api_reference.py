"""The AsyncAPI document as the API serves it."""

from __future__ import annotations

from pathlib import Path

from tests.support.api import Api

WRITTEN = Path(__file__).parents[2] / "docs/reference/asyncapi.json"


async def test_everybody_gets_the_document_that_is_in_the_documentation(api: Api) -> None:
    for token in (None, "wrong"):
        answer = await api.call("GET", "/asyncapi.json", token=token)
        assert (answer.status, answer.headers["Content-Type"].split(";")[0]) == (
            200,
            "application/json",
        )
        assert answer.body == WRITTEN.read_bytes()
