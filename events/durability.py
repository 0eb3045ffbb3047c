"""Whether the NATS server has a message on disk when it acknowledges it.

By default it only hands it to the operating system and fsyncs every two minutes: a power failure
then loses what the relay has already taken off the outbox. `sync_interval: always` closes that gap.
https://docs.nats.io/running-a-nats-service/configuration#jetstream
"""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from zeitwork import logs, outbound
from zeitwork.errors import BrokerUnavailable

_log = logs.get(__name__)
_SECONDS = 3.0
_ADVICE = "set `sync_interval: always` in its jetstream block"


async def why_not_durable(monitor_url: str) -> str | None:
    """None when acknowledged messages are on disk, else the reason why not.

    Args:
        monitor_url: of the server's monitoring port.

    Raises:
        BrokerUnavailable: it cannot be asked.
    """
    try:
        async with (
            outbound.session(total=_SECONDS) as session,
            session.get(f"{monitor_url.rstrip('/')}/varz") as answer,
        ):
            facts: dict[str, Any] = await answer.json()
    except (outbound.ClientError, TimeoutError, ValueError) as error:
        raise BrokerUnavailable("NATS' monitoring port does not answer") from error
    config = (facts.get("jetstream") or {}).get("config")
    if not config:
        return "JetStream is off on this server"
    if config.get("sync_always"):
        return None
    seconds = config.get("sync_interval", 0) / 1e9
    return f"the server fsyncs every {seconds:g} s only: {_ADVICE}"


async def warn(monitor_url: SecretStr | None) -> None:
    """Say at start what is known about the server's durability."""
    if monitor_url is None:
        _log.warning(
            "broker durability unchecked", then=_ADVICE, setting="ZEITWORK_NATS_MONITOR_URL"
        )
        return
    try:
        reason = await why_not_durable(monitor_url.get_secret_value())
    except BrokerUnavailable as error:
        _log.warning("broker durability unknown", detail=error.message)
        return
    if reason is not None:
        _log.warning("broker can lose acknowledged events", reason=reason)
