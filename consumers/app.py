"""Builds a consumer process: handlers of the chosen groups, heartbeats, reconcilers."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from consumers.builds.handler import Builder
from consumers.builds.pipeline import Pipeline
from consumers.builds.reconciler import BuildReconciler
from consumers.builds.refs import GitRefs
from consumers.dead_letters.gauge import DeadLetterGauge
from consumers.deployments.reconciler import DeploymentReconciler
from consumers.deploys.reconciler import TriggerReconciler
from consumers.nodes.heartbeats import HeartbeatListener, NodeReconciler
from consumers.operations.reconciler import OperationReconciler
from consumers.previews.reconciler import PreviewReconciler
from consumers.registry import GROUPS, bindings
from consumers.runtime import ConsumerRuntime
from consumers.scheduling.handler import PlacementReconciler
from consumers.wiring import Wiring
from db import wake
from db.engine import Database
from db.leased import LeasedLoop
from db.session import UnitOfWork
from events.nats_bus import NatsBus
from zeitwork import ids
from zeitwork.blobs import DiskBlobStore
from zeitwork.cache import RedisCache
from zeitwork.config import Settings
from zeitwork.loops import Loop
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor


async def run(settings: Settings, groups: Sequence[str] = GROUPS) -> int:
    """Run until a signal; the exit code."""
    bus = NatsBus(settings.nats_url, name="consumers")
    database = Database(settings.database_url, application="consumers", pool_size=20)
    work = UnitOfWork(database, wake=wake.through(bus))
    cache = RedisCache(settings.cache_url)
    pipeline = _pipeline(settings)
    builder = Builder(work=work, bus=bus, pipeline=pipeline)
    wiring = Wiring(
        work=work,
        bus=bus,
        builder=builder,
        refs=GitRefs(),
        build_slots=settings.consumers.build_slots,
        drain_seconds=settings.drain_seconds,
        cache=cache,
    )
    services: list[Service] = [
        database,
        bus,
        cache,
        ConsumerRuntime(
            settings.nats_url, bindings(wiring, groups), replicas=settings.nats_replicas
        ),
        *_watchers(bus, work, groups),
        *_keepers(settings, work, groups),
    ]
    if "builds" in groups:
        # What a killed process left is on this machine's disk: every process looks for itself.
        services.append(Loop("build-sweep", pipeline.sweep, interval=3600, timeout=600))
    supervisor = Supervisor(services)
    ops = OpsServer(
        host=settings.consumers.ops_host,
        port=settings.consumers.ops_port,
        ready=supervisor.ready,
    )
    services.insert(0, ops)
    return await supervisor.run()


def _watchers(bus: NatsBus, work: UnitOfWork, groups: Sequence[str]) -> list[Service]:
    """Heartbeats and reconcilers; each round runs in one process at a time, by lease."""
    holder: UUID = ids.new_uuid()
    watchers: list[Service] = []
    if "builds" in groups:
        builds = BuildReconciler(bus, work)
        watchers.append(LeasedLoop("builds", builds.round, work=work, holder=holder, interval=10))
    if "instances" in groups:
        nodes = NodeReconciler(bus, work)
        watchers.append(HeartbeatListener(bus, work))
        watchers.append(LeasedLoop("nodes", nodes.round, work=work, holder=holder, interval=5))
    if "dead-letters" in groups:
        gauge = DeadLetterGauge(work)
        watchers.append(
            LeasedLoop(
                "dead-letters",
                gauge.round,
                work=work,
                holder=holder,
                interval=15,
                idle=gauge.rest,
            )
        )
    if "deployments" in groups:
        overdue = DeploymentReconciler(work)
        watchers.append(
            LeasedLoop("deployments", overdue.round, work=work, holder=holder, interval=10)
        )
    if "operations" in groups:
        asked = OperationReconciler(work)
        watchers.append(
            LeasedLoop("operations", asked.round, work=work, holder=holder, interval=10)
        )
    if "scheduling" in groups:
        pending = PlacementReconciler(work)
        watchers.append(
            LeasedLoop("scheduling", pending.round, work=work, holder=holder, interval=10)
        )
    return watchers


def _keepers(settings: Settings, work: UnitOfWork, groups: Sequence[str]) -> list[Service]:
    """What keeps promises to people: previews as asked for, triggers with an answer."""
    holder: UUID = ids.new_uuid()
    keepers: list[Service] = []
    if "deploys" in groups:
        triggers = TriggerReconciler(work)
        keepers.append(
            LeasedLoop("triggers", triggers.round, work=work, holder=holder, interval=30)
        )
    if "previews" in groups:
        previews = PreviewReconciler(work, blobs=DiskBlobStore(settings.data_dir / "blobs"))
        keepers.append(
            LeasedLoop("previews", previews.round, work=work, holder=holder, interval=10)
        )
    return keepers


def _pipeline(settings: Settings) -> Pipeline:
    data = settings.data_dir
    return Pipeline(
        blobs=DiskBlobStore(data / "blobs"),
        work_dir=data / "builds",
        cache_dir=data / "cache",
        sandbox=settings.node.sandbox,
        timeout_seconds=settings.consumers.build_timeout_seconds,
        memory_mib=settings.consumers.build_memory_mib,
    )
