"""The named retry policies, on tenacity. One layer retries; everything above it does not."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from zeitwork import clock
from zeitwork.errors import ZeitworkError


def _may_help(error: BaseException) -> bool:
    return isinstance(error, ZeitworkError) and error.retryable


def quick(*, attempts: int = 3, when: Callable[[BaseException], bool] = _may_help) -> AsyncRetrying:
    """A few tries with full jitter, for idempotent calls inside one piece of work."""
    return AsyncRetrying(
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.1, max=2),
        retry=retry_if_exception(when),
        sleep=clock.sleep,
        reraise=True,
    )


def patient(seconds: float, *, when: Callable[[BaseException], bool] = _may_help) -> AsyncRetrying:
    """Tries until `seconds` have passed: for a dependency that is still starting."""
    return AsyncRetrying(
        stop=stop_after_delay(seconds),
        wait=wait_random_exponential(multiplier=0.05, max=1),
        retry=retry_if_exception(when),
        sleep=clock.sleep,
        reraise=True,
    )
