"""Life cycles: which status may follow which. Rows, events and handlers use these enums; pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeVar

from zeitwork.errors import IllegalMove


class DeploymentState(StrEnum):
    """A version of an environment, from commit to traffic and out again."""

    QUEUED = "queued"
    BUILDING = "building"
    DEPLOYING = "deploying"
    ACTIVE = "active"
    SUPERSEDED = "superseded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"


class BuildState(StrEnum):
    """One attempt to turn a commit into an artifact."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class InstanceState(StrEnum):
    """One running copy of a deployment."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


class InstallationState(StrEnum):
    """The GitHub App in an account."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"


class NodeState(StrEnum):
    """A machine that runs instances."""

    JOINING = "joining"
    READY = "ready"
    DRAINING = "draining"
    SUSPECT = "suspect"
    LOST = "lost"
    GONE = "gone"


class DeliveryState(StrEnum):
    """What became of a webhook delivery."""

    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"


class PreviewState(StrEnum):
    """A pull request's or a branch's preview; it ends with its row."""

    WAITING = "waiting"
    ACTIVE = "active"
    CLOSING = "closing"


class TriggerState(StrEnum):
    """What became of something that asked for a deployment."""

    PENDING = "pending"
    DEPLOYED = "deployed"
    SKIPPED = "skipped"
    FAILED = "failed"


class DeadLetterState(StrEnum):
    """What was decided about a message that no attempt could handle."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"


class OperationState(StrEnum):
    """Work on the platform itself that an operator asked for."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_D, _B, _I, _N, _W = DeploymentState, BuildState, InstanceState, NodeState, DeliveryState
_L, _O, _G = DeadLetterState, OperationState, InstallationState
_P, _T = PreviewState, TriggerState
_State = TypeVar(
    "_State",
    DeploymentState,
    BuildState,
    InstanceState,
    NodeState,
    DeliveryState,
    DeadLetterState,
    OperationState,
    InstallationState,
    PreviewState,
    TriggerState,
)

# By machine first: members of different machines are equal when their words are.
MOVES: Final[Mapping[type[StrEnum], Mapping[StrEnum, frozenset[StrEnum]]]] = {
    DeploymentState: {
        _D.QUEUED: frozenset({_D.BUILDING, _D.DEPLOYING, _D.FAILED, _D.CANCELLED, _D.SUPERSEDED}),
        _D.BUILDING: frozenset({_D.DEPLOYING, _D.FAILED, _D.CANCELLED, _D.SUPERSEDED}),
        _D.DEPLOYING: frozenset({_D.ACTIVE, _D.FAILED, _D.CANCELLED, _D.SUPERSEDED}),
        _D.ACTIVE: frozenset({_D.SUPERSEDED, _D.STOPPED}),
        _D.SUPERSEDED: frozenset(),
        _D.FAILED: frozenset(),
        _D.CANCELLED: frozenset(),
        _D.STOPPED: frozenset(),
    },
    BuildState: {
        _B.QUEUED: frozenset({_B.RUNNING, _B.FAILED, _B.CANCELLED}),
        _B.RUNNING: frozenset({_B.SUCCEEDED, _B.FAILED, _B.CANCELLED}),
        _B.SUCCEEDED: frozenset(),
        _B.FAILED: frozenset(),
        _B.CANCELLED: frozenset(),
    },
    InstanceState: {
        _I.PENDING: frozenset({_I.STARTING, _I.READY, _I.DRAINING, _I.STOPPED, _I.FAILED, _I.LOST}),
        _I.STARTING: frozenset({_I.READY, _I.DRAINING, _I.STOPPED, _I.FAILED, _I.LOST}),
        _I.READY: frozenset({_I.STARTING, _I.DRAINING, _I.STOPPED, _I.FAILED, _I.LOST}),
        _I.DRAINING: frozenset({_I.STOPPED, _I.FAILED, _I.LOST}),
        _I.STOPPED: frozenset(),
        _I.FAILED: frozenset({_I.STOPPED}),
        _I.LOST: frozenset({_I.STOPPED}),
    },
    NodeState: {
        _N.JOINING: frozenset({_N.READY, _N.LOST, _N.GONE}),
        _N.READY: frozenset({_N.DRAINING, _N.SUSPECT, _N.LOST, _N.GONE}),
        _N.DRAINING: frozenset({_N.READY, _N.LOST, _N.GONE}),
        _N.SUSPECT: frozenset({_N.READY, _N.LOST, _N.GONE}),
        _N.LOST: frozenset({_N.READY, _N.GONE}),
        _N.GONE: frozenset(),
    },
    DeliveryState: {
        _W.RECEIVED: frozenset({_W.PROCESSED, _W.IGNORED}),
        _W.PROCESSED: frozenset(),
        _W.IGNORED: frozenset(),
    },
    DeadLetterState: {
        _L.OPEN: frozenset({_L.REDRIVEN, _L.DISCARDED}),
        _L.REDRIVEN: frozenset(),
        _L.DISCARDED: frozenset(),
    },
    InstallationState: {
        _G.ACTIVE: frozenset({_G.SUSPENDED, _G.DELETED}),
        _G.SUSPENDED: frozenset({_G.ACTIVE, _G.DELETED}),
        _G.DELETED: frozenset(),
    },
    PreviewState: {
        _P.WAITING: frozenset({_P.ACTIVE, _P.CLOSING}),
        _P.ACTIVE: frozenset({_P.CLOSING}),
        _P.CLOSING: frozenset(),
    },
    TriggerState: {
        _T.PENDING: frozenset({_T.DEPLOYED, _T.SKIPPED, _T.FAILED}),
        _T.DEPLOYED: frozenset(),
        _T.SKIPPED: frozenset(),
        _T.FAILED: frozenset(),
    },
    OperationState: {
        _O.QUEUED: frozenset({_O.RUNNING, _O.FAILED}),
        _O.RUNNING: frozenset({_O.SUCCEEDED, _O.FAILED}),
        _O.SUCCEEDED: frozenset(),
        _O.FAILED: frozenset(),
    },
}


def allowed(current: _State, target: _State) -> bool:
    return target in MOVES[type(current)][current]


def check(current: _State, target: _State) -> None:
    """Let a legal move pass.

    Raises:
        IllegalMove: the state machine does not know this move.
    """
    if not allowed(current, target):
        raise IllegalMove(f"{type(current).__name__} cannot move from {current} to {target}")


def terminal(state: _State) -> bool:
    """True where no move leads on."""
    return not MOVES[type(state)][state]
