"""The two wiring tables agree: what a durable filters is what its handlers take."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from consumers.binding import Binding
from consumers.registry import bindings
from db.engine import Database
from db.session import UnitOfWork
from events import streams, subjects
from events.memory import MemoryBus
from tests.support.running import wiring

# Nothing connects before it is asked to.
_WORK = UnitOfWork(Database(SecretStr("postgresql://nobody@127.0.0.1:1/none"), application="test"))
_BOUND = bindings(wiring(_WORK, MemoryBus()))
_FACTS = [
    bound
    for bound in _BOUND
    if isinstance(bound, Binding) and bound.durable.stream == streams.EVENTS.name
]


def test_every_durable_is_bound_once() -> None:
    bound = sorted(binding.durable.name for binding in _BOUND)
    assert bound == sorted(durable.name for durable in streams.DURABLES)


@pytest.mark.parametrize("binding", _FACTS, ids=lambda binding: binding.durable.name)
def test_a_durable_filters_the_facts_that_its_handlers_take(binding: Binding) -> None:
    durable = binding.durable
    handled = {subjects.facts(event) for event in binding.handlers}
    assert set(durable.filters) == {*handled, subjects.redrive(durable.name)}
