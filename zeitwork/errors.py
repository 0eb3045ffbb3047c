"""The one error tree. The class carries code, status, category and whether a retry may help.

ZeitworkError
├── InvalidInput            400 invalid_input
│   ├── MalformedBody       400 malformed_body
│   └── InvalidSettings     400 invalid_settings
├── Unauthenticated         401 unauthenticated
│   └── BadSignature        401 bad_signature
├── NotFound                404 not_found
├── MethodNotAllowed        405 method_not_allowed
├── Conflict                409 conflict
│   └── IllegalMove         409 illegal_move
├── BodyTooLarge            413 body_too_large
├── BuildFailed             422 build_failed
│   ├── SourceUnavailable   422 source_unavailable
│   ├── NothingDetected     422 nothing_detected
│   ├── BuildCommandFailed  422 build_command_failed
│   ├── BuildOutOfMemory    422 build_out_of_memory
│   └── BuildTimedOut       422 build_timed_out
├── InstanceFailed          422 instance_failed
│   ├── StartCommandExited  422 start_command_exited
│   ├── HealthCheckFailed   422 health_check_failed
│   └── ReleaseFailed       422 release_failed
│       ├── ReleaseTimedOut 422 release_timed_out
│       └── ReleaseLost     422 release_lost
├── ProgramFailed           500 program_failed
├── SealBroken              500 seal_broken
├── ArtifactCorrupt         502 artifact_corrupt
├── BlobStoreRefused        502 blob_store_refused
├── GitHubRefused           502 github_refused
│   ├── GitHubCredentials   502 github_credentials
│   ├── GitHubForbidden     502 github_forbidden
│   └── GitHubNotFound      502 github_not_found
├── Unavailable             503 unavailable
│   ├── BlobStoreUnavailable 503 blob_store_unavailable
│   ├── BrokerUnavailable   503 broker_unavailable
│   ├── DatabaseUnavailable 503 database_unavailable
│   ├── CacheUnavailable    503 cache_unavailable
│   ├── GitHubUnavailable   503 github_unavailable
│   │   └── GitHubLimited   503 github_limited
│   ├── HostUnsupported     503 host_unsupported
│   ├── IntakeFull          503 intake_full
│   ├── OutboxFull          503 outbox_full
│   └── SealKeyMissing      503 seal_key_missing
└── TimedOut                504 timed_out
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Category(StrEnum):
    """Who has to act."""

    CALLER = "caller"
    APPLICATION = "application"
    PLATFORM = "platform"


class ZeitworkError(Exception):
    """Base of every error that Zeitwork raises on purpose.

    The message is shown to people: it says what happened and what to do, and holds no secret.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    category: ClassVar[Category] = Category.PLATFORM
    retryable: ClassVar[bool] = False

    @property
    def message(self) -> str:
        return str(self)


class InvalidInput(ZeitworkError):
    """The request cannot be understood or breaks a rule of its fields."""

    code = "invalid_input"
    status = 400
    category = Category.CALLER


class MalformedBody(InvalidInput):
    """The body is not the JSON it should be."""

    code = "malformed_body"


class InvalidSettings(InvalidInput):
    """The configuration of this process is unusable."""

    code = "invalid_settings"


class Unauthenticated(ZeitworkError):
    """No credential, or one that is not valid."""

    code = "unauthenticated"
    status = 401
    category = Category.CALLER


class BadSignature(Unauthenticated):
    """The webhook's signature is missing or does not match its body."""

    code = "bad_signature"


class NotFound(ZeitworkError):
    """There is no such thing, or the caller may not know of it."""

    code = "not_found"
    status = 404
    category = Category.CALLER


class MethodNotAllowed(ZeitworkError):
    """The path exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    category = Category.CALLER


class Conflict(ZeitworkError):
    """The state of the thing does not allow this."""

    code = "conflict"
    status = 409
    category = Category.CALLER


class IllegalMove(Conflict):
    """A state machine does not know this move."""

    code = "illegal_move"


class BodyTooLarge(ZeitworkError):
    """The body is larger than this endpoint takes."""

    code = "body_too_large"
    status = 413
    category = Category.CALLER


class BuildFailed(ZeitworkError):
    """The repository did not become an artifact."""

    code = "build_failed"
    status = 422
    category = Category.APPLICATION


class SourceUnavailable(BuildFailed):
    """The commit could not be fetched."""

    code = "source_unavailable"


class NothingDetected(BuildFailed):
    """No builder knows what this repository is."""

    code = "nothing_detected"


class BuildCommandFailed(BuildFailed):
    """A command of the build ended with an error."""

    code = "build_command_failed"


class BuildOutOfMemory(BuildFailed):
    """The programs of the build needed more memory than they may use."""

    code = "build_out_of_memory"


class BuildTimedOut(BuildFailed):
    """The build took longer than it may."""

    code = "build_timed_out"


class InstanceFailed(ZeitworkError):
    """The application did not come up."""

    code = "instance_failed"
    status = 422
    category = Category.APPLICATION


class StartCommandExited(InstanceFailed):
    """The start command ended instead of serving."""

    code = "start_command_exited"


class HealthCheckFailed(InstanceFailed):
    """The application runs but never answered its health check."""

    code = "health_check_failed"


class ReleaseFailed(InstanceFailed):
    """The release command ended with an error."""

    code = "release_failed"


class ReleaseTimedOut(ReleaseFailed):
    """The release command did not end in its time."""

    code = "release_timed_out"


class ReleaseLost(ReleaseFailed):
    """It is not known whether the release command finished."""

    code = "release_lost"


class ProgramFailed(ZeitworkError):
    """A program that Zeitwork runs for itself ended with an error."""

    code = "program_failed"


class SealBroken(ZeitworkError):
    """A sealed value was changed, or belongs to another row."""

    code = "seal_broken"


class ArtifactCorrupt(ZeitworkError):
    """The bytes of an artifact do not match its digest."""

    code = "artifact_corrupt"
    status = 502
    retryable = True


class BlobStoreRefused(ZeitworkError):
    """The blob store understood the call and will not do it."""

    code = "blob_store_refused"
    status = 502


class GitHubRefused(ZeitworkError):
    """GitHub understood the call and will not do it; the same call would be refused again."""

    code = "github_refused"
    status = 502


class GitHubCredentials(GitHubRefused):
    """GitHub does not take the App's key, or a token of ours."""

    code = "github_credentials"


class GitHubForbidden(GitHubRefused):
    """The App lacks a permission, or its installation is suspended."""

    code = "github_forbidden"


class GitHubNotFound(GitHubRefused):
    """There is no such thing on GitHub, or the App may not know of it."""

    code = "github_not_found"


class Unavailable(ZeitworkError):
    """Something that this process depends on is away; trying again may help."""

    code = "unavailable"
    status = 503
    retryable = True
    retry_after_seconds: ClassVar[int] = 1


class BlobStoreUnavailable(Unavailable):
    """The blob store does not answer."""

    code = "blob_store_unavailable"


class BrokerUnavailable(Unavailable):
    """NATS does not answer."""

    code = "broker_unavailable"


class DatabaseUnavailable(Unavailable):
    """PostgreSQL does not answer."""

    code = "database_unavailable"


class CacheUnavailable(Unavailable):
    """Valkey does not answer."""

    code = "cache_unavailable"


class GitHubUnavailable(Unavailable):
    """GitHub does not answer, or not in a way that can be understood.

    Attributes:
        done: False when it is certain that the call had no effect.
    """

    code = "github_unavailable"

    def __init__(self, message: str, *, done: bool | None = None) -> None:
        super().__init__(message)
        self.done = done


class GitHubLimited(GitHubUnavailable):
    """GitHub takes no more calls for now.

    Attributes:
        seconds: until it does again.
    """

    code = "github_limited"

    def __init__(self, message: str, *, seconds: float = 60.0) -> None:
        super().__init__(message, done=False)
        self.seconds = seconds


class HostUnsupported(Unavailable):
    """This machine lacks something that the operation needs."""

    code = "host_unsupported"
    retryable = False


class IntakeFull(Unavailable):
    """More webhooks arrive than can be stored; the newest are refused."""

    code = "intake_full"
    retry_after_seconds = 10


class OutboxFull(Unavailable):
    """Too many events wait for the broker; nothing new is taken in until it has caught up."""

    code = "outbox_full"
    retry_after_seconds = 10


class SealKeyMissing(Unavailable):
    """No key of this process's ring can seal or open a value."""

    code = "seal_key_missing"


class TimedOut(ZeitworkError):
    """The deadline passed; the outcome is unknown."""

    code = "timed_out"
    status = 504
    retryable = True
