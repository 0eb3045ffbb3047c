"""Reports of a node: kept until they are sent, and again until they were heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest
from typing_extensions import override

from events.bus import Message
from events.envelope import unwrap
from events.instances import InstanceReported
from events.memory import MemoryBus
from events.states import InstanceState
from events.streams import EVENTS
from node.reporter import Report, Reporter
from tests.contracts.runtime import instance_spec
from tests.support.eventually import eventually

READY, STARTING = InstanceState.READY, InstanceState.STARTING
SPEC = instance_spec()
OTHER = instance_spec(instance_id="ins_other")


class CountingBus(MemoryBus):
    """Counts what is sent to it, whatever becomes of it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[str] = []

    @override
    async def publish(self, messages: Sequence[Message]) -> None:
        self.sent += [str(message.id) for message in messages]
        await super().publish(messages)

    def reports(self) -> list[InstanceReported]:
        found = [unwrap(each.headers, each.data).data for each in self.stored(EVENTS.name)]
        return [each for each in found if isinstance(each, InstanceReported)]


@pytest.fixture
def bus() -> CountingBus:
    return CountingBus()


@pytest.fixture
async def reporter(bus: CountingBus) -> AsyncIterator[Reporter]:
    reporter = Reporter(bus)
    reporter.node_id = "nod_1"
    await reporter.start()
    yield reporter
    await reporter.stop()


async def test_what_was_not_heard_is_sent_again_and_stored_once(
    bus: CountingBus, reporter: Reporter
) -> None:
    reporter.report(SPEC, Report(STARTING))
    await eventually(lambda: len(bus.sent) == 1)
    starting = bus.reports()[0].sequence
    reporter.report(SPEC, Report(READY, host="127.0.0.1", port=1))
    await eventually(lambda: len(bus.sent) == 2)

    reporter.repeat(heard={SPEC.instance_id: starting})

    await eventually(lambda: len(bus.sent) == 3)
    assert bus.sent[1] == bus.sent[2]
    assert [each.state for each in bus.reports()] == [STARTING, READY]


async def test_what_was_heard_or_is_not_wanted_here_is_not_sent_again(
    bus: CountingBus, reporter: Reporter
) -> None:
    reporter.report(SPEC, Report(STARTING))
    reporter.report(OTHER, Report(STARTING))
    await eventually(lambda: len(bus.sent) == 2)

    reporter.repeat(heard={SPEC.instance_id: bus.reports()[0].sequence})
    reporter.repeat(heard={SPEC.instance_id: 0, OTHER.instance_id: 0})  # forgotten by now

    reporter.report(SPEC, Report(READY, host="127.0.0.1", port=1))
    await eventually(lambda: len(bus.reports()) == 3)
    assert len(bus.sent) == 3
