"""Every Prometheus metric of the product, in one file. No ids as labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)

WEBHOOK_DELIVERIES = Counter(
    "zeitwork_webhook_deliveries",
    "Webhook deliveries by outcome",
    ["event", "outcome"],
    registry=REGISTRY,
)
API_REQUESTS = Histogram(
    "zeitwork_api_request_seconds",
    "Time to answer an API request",
    ["method", "route", "status"],
    registry=REGISTRY,
)
OUTBOX_PUBLISHED = Counter(
    "zeitwork_outbox_published", "Events moved from outbox to JetStream", registry=REGISTRY
)
OUTBOX_DEPTH = Gauge(
    "zeitwork_outbox_depth", "Events not yet published", ["stream"], registry=REGISTRY
)
OUTBOX_OLDEST = Gauge(
    "zeitwork_outbox_oldest_age_seconds",
    "Age of the oldest unpublished event",
    ["stream"],
    registry=REGISTRY,
)
OUTBOX_BATCH = Histogram(
    "zeitwork_outbox_batch_events",
    "Events that one transaction of the relay moved",
    ["stream"],
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    registry=REGISTRY,
)
OUTBOX_PUBLISH_SECONDS = Histogram(
    "zeitwork_outbox_publish_seconds",
    "Time until JetStream had a batch of the relay on disk",
    ["stream"],
    registry=REGISTRY,
)
OUTBOX_PARKED = Counter(
    "zeitwork_outbox_parked",
    "Events that no stream will ever take, put among the dead letters",
    ["stream"],
    registry=REGISTRY,
)
BUS_DUPLICATES = Counter(
    "zeitwork_bus_duplicates",
    "Messages that a stream held already when they were published",
    ["stream"],
    registry=REGISTRY,
)
BUS_BATCH_FALLBACKS = Counter(
    "zeitwork_bus_batch_fallbacks",
    "Batches that were refused and sent one by one",
    ["stream"],
    registry=REGISTRY,
)
TOPOLOGY_RESTORED = Counter(
    "zeitwork_topology_restored",
    "Streams and durables that had disappeared and were made anew",
    registry=REGISTRY,
)
HANDLED = Histogram(
    "zeitwork_handler_seconds",
    "Time a handler took, by outcome (done, later, drop, retry, dead)",
    ["durable", "outcome"],
    registry=REGISTRY,
)
SHARED = Counter(
    "zeitwork_shared_transactions_total",
    "Transactions in which several messages were handled, by how they ended (kept, undone)",
    ["durable", "outcome"],
    registry=REGISTRY,
)
DEAD_LETTERS_OPEN = Gauge(
    "zeitwork_dead_letters_open",
    "Dead letters that wait for a decision; one process at a time measures",
    ["durable"],
    registry=REGISTRY,
)
BUILD_SECONDS = Histogram(
    "zeitwork_build_seconds",
    "Time of a build step",
    ["step"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
    registry=REGISTRY,
)
GITHUB_CALLS = Counter(
    "zeitwork_github_calls",
    "Calls of GitHub's API by class of the answer",
    ["method", "outcome"],
    registry=REGISTRY,
)
GITHUB_REPORTS = Counter(
    "zeitwork_github_reports",
    "What was posted to GitHub about deployments (posted, refused)",
    ["kind", "outcome"],
    registry=REGISTRY,
)
GITHUB_REDELIVERIES = Counter(
    "zeitwork_github_redeliveries",
    "Missed webhooks (found, asked, recovered, given_up)",
    ["outcome"],
    registry=REGISTRY,
)
DATABASE_CONNECTIONS = Gauge(
    "zeitwork_database_connections", "Connections of the pool in use", registry=REGISTRY
)
DEPLOYMENTS = Counter(
    "zeitwork_deployments", "Deployments by how they ended", ["outcome"], registry=REGISTRY
)
NODE_INSTANCES = Gauge(
    "zeitwork_node_instances", "Instances on this node by state", ["state"], registry=REGISTRY
)
EDGE_REQUESTS = Counter(
    "zeitwork_edge_requests", "Visitors' requests", ["code_class"], registry=REGISTRY
)
EDGE_SECONDS = Histogram(
    "zeitwork_edge_request_seconds", "Time to the upstream's response head", registry=REGISTRY
)
EDGE_REFUSALS = Counter(
    "zeitwork_edge_refusals",
    "Requests the edge answered itself, by code",
    ["code"],
    registry=REGISTRY,
)
EDGE_RETRIES = Counter(
    "zeitwork_edge_retries", "Requests that were sent to an instance again", registry=REGISTRY
)
EDGE_EJECTIONS = Counter(
    "zeitwork_edge_ejections",
    "Instances that were passed over for a while after failures in a row",
    registry=REGISTRY,
)
EDGE_ROUTES = Gauge("zeitwork_edge_routes", "Hosts in the routing table", registry=REGISTRY)
LOOP_ROUNDS = Counter(
    "zeitwork_loop_rounds", "Rounds of background loops", ["loop", "outcome"], registry=REGISTRY
)
READY = Gauge(
    "zeitwork_ready", "1 when the process can do its work, as /readyz says", registry=REGISTRY
)
# Of the queues one API process at a time measures; the others show nothing.
QUEUE_PENDING = Gauge(
    "zeitwork_queue_pending", "Messages not handed out yet", ["durable"], registry=REGISTRY
)
QUEUE_ACK_PENDING = Gauge(
    "zeitwork_queue_ack_pending",
    "Messages handed out and not answered yet",
    ["durable"],
    registry=REGISTRY,
)
QUEUE_REDELIVERED = Gauge(
    "zeitwork_queue_redelivered",
    "Messages handed out more than once and not answered yet",
    ["durable"],
    registry=REGISTRY,
)
QUEUE_OLDEST_AGE = Gauge(
    "zeitwork_queue_oldest_age_seconds",
    "Age of the oldest message that is not done",
    ["durable"],
    registry=REGISTRY,
)
QUEUE_RATE = Gauge(
    "zeitwork_queue_rate",
    "Messages done per second over the last minute",
    ["durable"],
    registry=REGISTRY,
)
QUEUE_MISSING = Gauge(
    "zeitwork_queue_missing",
    "1 for each stream and durable that does not exist",
    ["name"],
    registry=REGISTRY,
)
STREAM_MESSAGES = Gauge(
    "zeitwork_stream_messages", "Messages that a stream holds", ["stream"], registry=REGISTRY
)
STREAM_BYTES = Gauge(
    "zeitwork_stream_bytes", "Bytes that a stream holds", ["stream"], registry=REGISTRY
)


def exposition() -> tuple[bytes, str]:
    """The registry in Prometheus' text format, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST
