from __future__ import annotations

from collections.abc import Iterator

import pytest

from cli import exits
from cli.client import ApiProblem
from cli.exits import Exit
from zeitwork import errors
from zeitwork.errors import ZeitworkError


def _tree(root: type[ZeitworkError]) -> Iterator[type[ZeitworkError]]:
    for each in root.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from _tree(each)


# What a script may conclude; an error that is added has to be placed here.
EXPECTED = {
    Exit.USAGE: {"InvalidInput", "MalformedBody", "InvalidSettings", "BodyTooLarge"},
    Exit.UNAUTHENTICATED: {"Unauthenticated", "BadSignature"},
    Exit.NOT_FOUND: {"NotFound"},
    Exit.CONFLICT: {"Conflict", "IllegalMove"},
    Exit.DEPLOYMENT_FAILED: {
        "BuildFailed", "SourceUnavailable", "NothingDetected", "BuildCommandFailed",
        "BuildOutOfMemory", "BuildTimedOut",
        "InstanceFailed", "StartCommandExited", "HealthCheckFailed",
        "ReleaseFailed", "ReleaseLost", "ReleaseTimedOut",
    },
    Exit.UNAVAILABLE: {
        "Unavailable", "BrokerUnavailable", "DatabaseUnavailable", "CacheUnavailable",
        "HostUnsupported", "ArtifactCorrupt", "IntakeFull", "OutboxFull", "SealKeyMissing",
        "GitHubRefused", "GitHubCredentials", "GitHubForbidden", "GitHubNotFound",
        "GitHubUnavailable", "GitHubLimited", "BlobStoreRefused", "BlobStoreUnavailable",
    },
    Exit.TIMED_OUT: {"TimedOut"},
    Exit.UNEXPECTED: {"ProgramFailed", "SealBroken", "MethodNotAllowed"},
}  # fmt: skip


def test_every_error_has_the_exit_code_that_scripts_expect() -> None:
    found: dict[Exit, set[str]] = {}
    for each in set(_tree(ZeitworkError)):
        found.setdefault(exits.of(each("why")), set()).add(each.__name__)
    assert found == EXPECTED


@pytest.mark.parametrize("status", [200, 405, 418, 500, 599])
def test_an_answer_that_nobody_foresaw_is_unexpected(status: int) -> None:
    assert exits.of(ApiProblem(status, {})) is Exit.UNEXPECTED


def test_codes_are_distinct_and_fit_a_shell() -> None:
    codes = [int(code) for code in Exit]
    assert len(set(codes)) == len(codes)
    assert all(0 <= code < 256 for code in codes)
