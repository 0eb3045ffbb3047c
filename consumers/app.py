"""Builds a consumer process: handlers of the chosen groups, heartbeats, reconcilers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from consumers.builds.announcer import Announcer, register
from consumers.builds.cancellations import CancellationListener
from consumers.builds.claims import Place
from consumers.builds.collector import ArtifactCollector, Keeping
from consumers.builds.engine import EngineSettings
from consumers.builds.handler import Builder
from consumers.builds.log_packer import LogPacker
from consumers.builds.logins import GitHubLogins, Logins, NoLogins
from consumers.builds.noted_blobs import NotedBlobs
from consumers.builds.pipeline import Pipeline
from consumers.builds.prompter import Prompter
from consumers.builds.reconciler import BuildReconciler
from consumers.builds.refs import GitRefs
from consumers.dead_letters.gauge import DeadLetterGauge
from consumers.deployments.reconciler import DeploymentReconciler
from consumers.deploys.reconciler import TriggerReconciler
from consumers.github.commenter import Commenter
from consumers.github.redeliveries import Redeliverer
from consumers.github.reports import Reporter
from consumers.nodes.heartbeats import HeartbeatListener, NodeReconciler
from consumers.operations.reconciler import OperationReconciler
from consumers.previews.reconciler import PreviewReconciler
from consumers.registry import GROUPS, bindings
from consumers.runtime import ConsumerRuntime
from consumers.scheduling.handler import PlacementReconciler
from consumers.wiring import Comments, Reports, Silence, Wiring
from db import wake
from db.engine import Database
from db.leased import LeasedLoop
from db.session import UnitOfWork
from events import blob_stores
from events.nats_bus import NatsBus
from zeitwork import ids, sealing
from zeitwork.blobs import BlobStore
from zeitwork.cache import RedisCache
from zeitwork.config import ConsumersSettings, Settings
from zeitwork.github import app as github_apps
from zeitwork.github.app import GitHubApp
from zeitwork.loops import Loop
from zeitwork.opsserver import OpsServer
from zeitwork.service import Service, Supervisor


async def run(settings: Settings, groups: Sequence[str] = GROUPS) -> int:
    """Run until a signal; the exit code."""
    bus = NatsBus(settings.nats_url, name="consumers")
    database = Database(settings.database_url, application="consumers", pool_size=20)
    work = UnitOfWork(database, wake=wake.through(bus))
    cache = RedisCache(settings.cache_url)
    github = github_apps.configured(settings.github)
    logins = _logins(settings, work, github)
    store = blob_stores.create(settings, bus)
    pipeline = _pipeline(settings, NotedBlobs(work, store), logins)
    place = _place(settings)
    keys = sealing.ring(settings.secret_keys)
    builder = Builder(work=work, bus=bus, pipeline=pipeline, place=place, keys=keys)
    wiring = Wiring(
        work=work,
        bus=bus,
        builder=builder,
        refs=GitRefs(logins),
        build_slots=settings.consumers.build_slots,
        drain_seconds=settings.drain_seconds,
        cache=cache,
        github=github,
        github_web_url=settings.github.web_url,
        reports=_reports(settings, work, github),
        comments=_comments(settings, work, github),
    )
    services: list[Service] = [
        database,
        bus,
        store,
        cache,
        *_github(settings, work, github, groups),
        ConsumerRuntime(
            settings.nats_url, bindings(wiring, groups), replicas=settings.nats_replicas
        ),
        *_watchers(bus, work, groups, place),
        *_keepers(work, groups),
        *_collection(settings, work, store, groups),
    ]
    if "builds" in groups:
        # What a killed process left is on this machine's disk: every process looks for itself.
        services.append(Loop("build-sweep", builder.sweep, interval=3600, timeout=600))
        services.append(CancellationListener(bus, builder.doubt))
        services.append(Loop("builder", partial(register, work, place), interval=10))
        services.append(Loop("build-prompter", Prompter(work, place).round, interval=5))
    supervisor = Supervisor(services)
    ops = OpsServer(
        host=settings.consumers.ops_host,
        port=settings.consumers.ops_port,
        ready=supervisor.ready,
    )
    services.insert(0, ops)
    return await supervisor.run()


def _reports(settings: Settings, work: UnitOfWork, app: GitHubApp | None) -> Reports:
    if app is None:
        return Silence()
    return Reporter(work, app, kinds=settings.github.reports, visit=settings.url_of)


def _comments(settings: Settings, work: UnitOfWork, app: GitHubApp | None) -> Comments:
    if app is None or "comments" not in settings.github.reports:
        return Silence()
    return Commenter(work, app, visit=settings.url_of, logs=settings.github.logs_of)


def _github(
    settings: Settings, work: UnitOfWork, app: GitHubApp | None, groups: Sequence[str]
) -> list[Service]:
    """The App, and the search for webhooks that did not reach us."""
    if app is None:
        return []
    services: list[Service] = [app]
    hours = settings.github.redelivery_hours
    if "github" in groups and hours > 0:
        missing = Redeliverer(work, app, window=timedelta(hours=hours))
        services.append(
            LeasedLoop(
                "github-redeliveries",
                missing.round,
                work=work,
                holder=ids.new_uuid(),
                interval=60,
                timeout=120,
            )
        )
    return services


def _watchers(bus: NatsBus, work: UnitOfWork, groups: Sequence[str], place: Place) -> list[Service]:
    """Heartbeats and reconcilers; each round runs in one process at a time, by lease."""
    holder: UUID = ids.new_uuid()
    watchers: list[Service] = []
    if "builds" in groups:
        for name, round_, interval in (
            ("builds", BuildReconciler(bus, work).round, 10),
            ("build-announcements", Announcer(work, place).round, 5),
            ("build-logs", LogPacker(work).round, 30),
        ):
            watchers.append(LeasedLoop(name, round_, work=work, holder=holder, interval=interval))
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


def _keepers(work: UnitOfWork, groups: Sequence[str]) -> list[Service]:
    """What keeps promises to people: previews as asked for, triggers with an answer."""
    holder: UUID = ids.new_uuid()
    keepers: list[Service] = []
    if "deploys" in groups:
        triggers = TriggerReconciler(work)
        keepers.append(
            LeasedLoop("triggers", triggers.round, work=work, holder=holder, interval=30)
        )
    if "previews" in groups:
        previews = PreviewReconciler(work)
        keepers.append(
            LeasedLoop("previews", previews.round, work=work, holder=holder, interval=10)
        )
    return keepers


def _collection(
    settings: Settings, work: UnitOfWork, store: BlobStore, groups: Sequence[str]
) -> list[Service]:
    """What deletes artifacts; it runs where they are made."""
    if "builds" not in groups:
        return []
    holder: UUID = ids.new_uuid()
    keeping = Keeping(
        settings.artifacts_kept,
        timedelta(hours=settings.artifact_grace_hours),
    )
    collector = ArtifactCollector(work, store, keeping)
    return [
        LeasedLoop("artifacts", collector.round, work=work, holder=holder, interval=60),
        LeasedLoop(
            "artifact-store",
            collector.look_through_store,
            work=work,
            holder=holder,
            interval=3600,
            timeout=600,
        ),
    ]


def _place(settings: Settings) -> Place:
    consumers = settings.consumers
    return Place(consumers.builder_name, consumers.build_slots, consumers.builds_per_organisation)


def _logins(settings: Settings, work: UnitOfWork, app: GitHubApp | None) -> Logins:
    return NoLogins() if app is None else GitHubLogins(work, app, web_url=settings.github.web_url)


def _pipeline(settings: Settings, blobs: NotedBlobs, logins: Logins) -> Pipeline:
    data = settings.data_dir
    return Pipeline(
        blobs=blobs,
        work_dir=data / "builds",
        cache_dir=data / "cache",
        sandbox=settings.node.sandbox,
        timeout_seconds=settings.consumers.build_timeout_seconds,
        memory_mib=settings.consumers.build_memory_mib,
        cpus=settings.consumers.build_cpus,
        processes=settings.consumers.build_processes,
        logins=logins,
        engine=_engine(settings.consumers),
    )


def _engine(settings: ConsumersSettings) -> EngineSettings | None:
    """The Docker Engine that builds Dockerfiles, when there is one."""
    if not settings.docker_engine:
        return None
    return EngineSettings(
        settings.docker_engine, settings.docker_build_network, settings.build_cpus
    )
