"""Where NATS is, for commands that talk to it themselves: the operator's, or the local one."""

from __future__ import annotations

from cli.embedded.nats import NatsServer
from cli.options import Options
from cli.platform_file import load
from zeitwork import config
from zeitwork.errors import InvalidSettings


def find_url(options: Options) -> str:
    """ZEITWORK_NATS_URL, else the server of the platform that runs on the data directory.

    Raises:
        InvalidSettings: neither is there.
    """
    settings = config.load()
    if "nats_url" in settings.model_fields_set:
        return settings.nats_url.get_secret_value()
    data = options.data_dir
    platform = load(data)
    if platform is None or "nats" not in platform.ports:
        raise InvalidSettings(
            f"No NATS is known: start `zeitwork up` on {data}, or set ZEITWORK_NATS_URL."
        )
    server = NatsServer(
        data / "servers" / "nats",
        port=platform.ports["nats"],
        monitor_port=platform.ports["nats monitor"],
    )
    return server.url.get_secret_value()
