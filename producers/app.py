"""Builds the API process: routes, relay, housekeeping."""

from __future__ import annotations

from aiohttp import web

from db import wake
from db.engine import Database
from db.leased import LeasedLoop
from db.session import UnitOfWork
from events import blob_stores, durability
from events.guard import Guard
from events.nats_bus import NatsBus
from producers.api import middleware
from producers.api.call import Deps
from producers.api.routes import PREFIX, ROUTES
from producers.housekeeper import Housekeeper
from producers.outbox_gauge import OutboxGauge
from producers.queues import QueueMeter
from producers.relay import Relay
from producers.webhooks.intake import Intake
from zeitwork import ids, sealing
from zeitwork.config import Settings
from zeitwork.errors import InvalidSettings
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor

_HOUSEKEEPING_SECONDS = 3600.0
_METERING_SECONDS = 5.0
_DRAIN_SECONDS = 5.0  # for calls in flight; followed streams never end by themselves
_REQUIRED_SECRETS = ("api_token", "node_token", "github_webhook_secret")


class ApiServer:
    """The public listener of the API; a Service."""

    name = "api"

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        settings = self._deps.settings.api
        self._runner = web.AppRunner(
            application(self._deps),
            access_log=None,
            handler_cancellation=True,
            shutdown_timeout=_DRAIN_SECONDS,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, settings.host, settings.port).start()

    async def ready(self) -> str | None:
        return None if self._runner is not None else "not listening"

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()


def application(deps: Deps) -> web.Application:
    """The aiohttp application of the route table."""
    app = web.Application(middlewares=middleware.ORDER)
    for endpoint in ROUTES:
        app.router.add_route(
            endpoint.method,
            PREFIX + endpoint.path,
            middleware.bound(endpoint, deps),
            expect_handler=middleware.expected,
        )
    return app


async def run(settings: Settings) -> int:
    """Run until a signal; the exit code.

    Raises:
        InvalidSettings: a secret is missing or of the wrong form.
    """
    _require_secrets(settings)
    bus = NatsBus(settings.nats_url, name="api")
    database = Database(settings.database_url, application="api")
    work = UnitOfWork(database, wake=wake.through(bus))
    queues = QueueMeter(bus)
    gauge = OutboxGauge(
        work,
        max_rows=settings.api.outbox_max_rows,
        max_age_seconds=settings.api.outbox_max_age_seconds,
    )
    blobs = blob_stores.create(settings, bus)
    intake = Intake(work)
    deps = Deps(
        settings,
        work,
        bus,
        blobs,
        queues=queues,
        outbox=gauge,
        intake=intake,
        keys=sealing.ring(settings.secret_keys),
    )
    housekeeping = LeasedLoop(
        "housekeeping",
        Housekeeper(work).round,
        work=work,
        holder=ids.new_uuid(),
        interval=_HOUSEKEEPING_SECONDS,
    )
    metering = LeasedLoop(
        "queues",
        queues.measure,
        work=work,
        holder=ids.new_uuid(),
        interval=_METERING_SECONDS,
        idle=queues.forget,
    )
    services: list[Service] = [
        database,
        bus,
        blobs,
        Guard(bus, replicas=settings.nats_replicas),
        Relay(bus, work),
        gauge,
        queues,
        metering,
        housekeeping,
        intake,
        ApiServer(deps),
    ]
    supervisor = Supervisor(services)
    ops = OpsServer(host=settings.api.ops_host, port=settings.api.ops_port, ready=supervisor.ready)
    services.insert(0, ops)
    await durability.warn(settings.nats_monitor_url)
    return await supervisor.run()


def _require_secrets(settings: Settings) -> None:
    missing = [
        f"ZEITWORK_{name.upper()}"
        for name in _REQUIRED_SECRETS
        if not getattr(settings, name).get_secret_value()
    ]
    if missing:
        raise InvalidSettings(f"Set {', '.join(missing)} (`zeitwork up` makes them itself).")
