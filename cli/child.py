"""A process of the platform that tells over HTTP whether it is ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from typing_extensions import override

from cli.program import Command, Program, Sink
from zeitwork import outbound

_REASON_CHARACTERS = 300


class Child(Program):
    """Runs `argv` with `env`; ready when `ready_url` (its /readyz) answers 200."""

    # Above the 25 s that a process gives each of its own parts (zeitwork/service.py).
    grace_seconds = 30.0
    poll_seconds = 0.05

    def __init__(
        self,
        name: str,
        *,
        argv: Sequence[str],
        env: Mapping[str, str],
        ready_url: str,
        sink: Sink,
    ) -> None:
        super().__init__(name, sink=sink)
        self._command = Command(argv, env=env)
        self._ready_url = ready_url

    @override
    async def command(self) -> Command:
        return self._command

    @override
    async def probe(self) -> str | None:
        try:
            async with outbound.session() as session, session.get(self._ready_url) as answer:
                if answer.status == 200:  # noqa: PLR2004 - HTTP's OK
                    return None
                body = await answer.text()
        except outbound.ClientError as error:
            return f"does not answer: {error}"
        return f"answers {answer.status}: {body[:_REASON_CHARACTERS]}"
