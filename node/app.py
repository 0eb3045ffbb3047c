"""Builds the node process: agent, reporter, health checks, logs."""

from __future__ import annotations

from events.connector import Connector
from events.guard import Watch
from events.nats_bus import NatsBus
from events.streams import EVENTS, LOGS
from node import runtimes
from node.agent import Agent
from node.artifacts import Artifacts
from node.checks import HealthChecks
from node.control_plane import ControlPlane
from node.instance import Workshop
from node.journal import Journal
from node.logs import LogShipper
from node.ports import Ports
from node.reporter import Reporter
from zeitwork.config import Settings
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor

_USED = (EVENTS, LOGS)  # streams that a node follows or publishes to


async def run(settings: Settings) -> int:
    """Run until a signal; the exit code. NATS may be away, and come later.

    Raises:
        HostUnsupported: this machine cannot run instances.
    """
    directory = settings.data_dir / "node" / settings.node.name
    bus = NatsBus(settings.nats_url, name="node")
    control_plane = ControlPlane(settings.node, token=settings.node_token.get_secret_value())
    artifacts = Artifacts(directory / "artifacts", control_plane)
    artifacts.open()
    checks = HealthChecks()
    reporter = Reporter(bus)
    shipper = LogShipper(bus)
    runtime = runtimes.choose(settings.node, artifacts.root)
    await runtime.open()
    workshop = Workshop(
        runtime=runtime,
        artifacts=artifacts,
        journal=Journal(directory / "journal"),
        ports=Ports(*settings.node.port_range, memory=directory / "last-port"),
        checks=checks,
        reporter=reporter,
        variables=lambda instance_id: control_plane.variables(reporter.node_id, instance_id),
        shipper=shipper,
        runs=directory / "instances",
        address=settings.node.address,
    )
    agent = Agent(settings.node, bus=bus, control_plane=control_plane, workshop=workshop)
    services: list[Service] = [
        Connector(bus),
        Watch(bus, streams=_USED, replicas=settings.nats_replicas),
        control_plane,
        checks,
        reporter,
        shipper,
        agent,
    ]
    supervisor = Supervisor(services)
    ops = OpsServer(
        host=settings.node.ops_host, port=settings.node.ops_port, ready=supervisor.ready
    )
    services.insert(0, ops)
    return await supervisor.run()
