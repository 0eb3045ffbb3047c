"""HTTP health checks of instances: 2xx or 3xx within two seconds is good."""

from __future__ import annotations

from zeitwork import outbound

_TIMEOUT_SECONDS = 2.0
_GOOD = range(200, 400)


class HealthChecks:
    """Asks instances on this machine; a Service that holds the session."""

    name = "health-checks"

    def __init__(self) -> None:
        self._session: outbound.Session | None = None

    async def start(self) -> None:
        if self._session is None:
            self._session = outbound.session(total=_TIMEOUT_SECONDS, connect=_TIMEOUT_SECONDS)

    async def ready(self) -> str | None:
        return None if self._session is not None else "not started"

    async def stop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def good(self, port: int, path: str) -> bool:
        """One check; every kind of failure to answer is a bad one."""
        assert self._session is not None  # noqa: S101 - started before any instance
        url = f"http://127.0.0.1:{port}{path}"
        try:
            async with self._session.get(
                url, allow_redirects=False, headers={"Connection": "close"}
            ) as answer:
                return answer.status in _GOOD
        except (outbound.ClientError, TimeoutError):
            return False
