"""A node's word on an instance → the row, if it may say so, and the fact that others wait for."""

from __future__ import annotations

from consumers.instances.reports import Standing, verdict
from consumers.outcomes import Done, Drop, Outcome
from db.models import Instance
from db.queries.instances import instance_emit, instance_lock
from db.session import Transaction
from events import instances as facts
from events.states import InstanceState
from zeitwork import clock

_MOST_CODE = 64
_MOST_DETAIL = 4000  # characters; a node may send more than the next event can hold


async def instance_reported(tx: Transaction, event: facts.InstanceReported) -> Outcome:
    instance = await instance_lock(tx.session, event.instance_id)
    if instance is None:
        return Drop("unknown instance")
    standing = Standing(
        node_id=instance.node_id,
        generation=instance.generation,
        sequence=instance.report_sequence,
        state=instance.state,
        kind=instance.kind,
    )
    refusal = verdict(standing, event)
    if refusal is not None:
        return Drop(refusal)
    instance.report_sequence = event.sequence
    moved = event.state is InstanceState.READY and (instance.host, instance.port) != (
        event.host,
        event.port,
    )
    if instance.state is event.state and not moved:
        return Done()
    _apply(tx, instance, event)
    return Done()


def _apply(tx: Transaction, instance: Instance, event: facts.InstanceReported) -> None:
    before = instance.state
    instance.state = event.state
    said = {
        "instance_id": instance.id,
        "deployment_id": instance.deployment_id,
        "environment_id": instance.environment_id,
    }
    match event.state:
        case InstanceState.READY:
            instance.host, instance.port = event.host, event.port
            instance.ready_at = clock.now()
            instance_emit(tx, instance, facts.InstanceReady(**said))
        case InstanceState.STARTING:
            if before is InstanceState.READY:
                instance_emit(tx, instance, facts.InstanceUnready(**said))
        case InstanceState.FAILED:
            instance.exit_code = event.exit_code
            instance.error_code = (event.code or "instance_failed")[:_MOST_CODE]
            instance.error_detail = (event.detail or "")[:_MOST_DETAIL]
            instance.stopped_at = clock.now()
            instance_emit(
                tx,
                instance,
                facts.InstanceFailed(
                    **said, code=instance.error_code, detail=instance.error_detail
                ),
            )
        case InstanceState.STOPPED:
            instance.exit_code = event.exit_code
            instance.stopped_at = clock.now()
            instance_emit(tx, instance, facts.InstanceStopped(**said))
        case InstanceState.PENDING | InstanceState.DRAINING | InstanceState.LOST:
            raise AssertionError("refused by the verdict")
