"""Body, header, time and connection caps."""

from __future__ import annotations

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """Every bound of the edge.

    Attributes:
        pipeline_bytes: read ahead of the request in hand; then the client's socket is not read.
        high_water_bytes: unsent bytes of one connection at which its source is paused.
        upstream_idle_seconds: below the 5 s after which Node.js and uvicorn close idle connections.
        half_close_seconds: how long a request without a response survives the client's FIN, which
            may mean "that was all I send" or "I am gone".
        linger_seconds: how long what a refused client still sends is read and thrown away, so that
            a reset does not destroy the answer on its way (RFC 9112 §9.6).
        instance_requests: in flight at one instance; more are refused or go to another.
        client_connections: of one client, which is an address or in IPv6 a network of 64 bits.
        client_rate: requests per second of one client to one project; 0 for no limit.
        project_rate: requests per second of all clients to one project; 0 for no limit.
        rate_burst_seconds: so much of a rate may be used at once.
        body_bytes_per_second: a request's body that comes slower uses up `body_idle_seconds`.
        retry_seconds: after so long a failed request is not tried once more.
        warm_seconds: how long an instance that joins others takes to get its full part.
        instance_drain_seconds: how long tunnels to an instance live on after its last route; below
            the time that the node agent leaves it running.
        drain_seconds: for requests in flight when the proxy stops; below the supervisor's 25 s.
    """

    request_line_bytes: int = 8 * _KIB
    request_head_bytes: int = 32 * _KIB
    response_head_bytes: int = 64 * _KIB
    head_fields: int = 100
    body_bytes: int = 100 * _MIB
    pipeline_bytes: int = 64 * _KIB
    high_water_bytes: int = 64 * _KIB
    connections: int = 10_000
    client_connections: int = 1024
    client_rate: float = 0.0
    project_rate: float = 0.0
    rate_burst_seconds: float = 10.0
    body_bytes_per_second: float = 240.0
    idle_upstream_connections: int = 64
    informational_responses: int = 16
    instance_requests: int = 1024

    head_seconds: float = 10.0
    keep_alive_seconds: float = 65.0
    connect_seconds: float = 2.0
    response_head_seconds: float = 60.0
    body_idle_seconds: float = 60.0
    upstream_idle_seconds: float = 4.0
    tunnel_idle_seconds: float = 3600.0
    half_close_seconds: float = 5.0
    linger_seconds: float = 2.0
    refused_seconds: float = 2.0
    retry_seconds: float = 10.0
    warm_seconds: float = 30.0
    instance_drain_seconds: float = 4.0
    drain_seconds: float = 20.0
