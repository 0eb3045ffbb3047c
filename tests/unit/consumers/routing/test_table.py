"""Routes lead to ready instances with an address, and to all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from consumers.routing.table import Backend, targets
from events.states import InstanceState

BACKENDS = st.lists(
    st.builds(
        Backend,
        instance_id=st.uuids().map(str),
        state=st.sampled_from(InstanceState),
        host=st.none() | st.just("10.0.0.1"),
        port=st.none() | st.integers(1, 65_535),
    ),
    max_size=8,
    unique_by=lambda backend: backend.instance_id,
)


@given(BACKENDS)
def test_exactly_the_ready_ones_with_an_address(backends: list[Backend]) -> None:
    known = {backend.instance_id: backend for backend in backends}
    found = targets(backends)
    for target in found:
        backend = known[target.instance_id]
        assert backend.state is InstanceState.READY
        assert (target.host, target.port) == (backend.host, backend.port)
    assert {target.instance_id for target in found} == {
        backend.instance_id
        for backend in backends
        if backend.state is InstanceState.READY and backend.host and backend.port
    }


@given(BACKENDS, st.data())
def test_the_order_of_rows_means_nothing(backends: list[Backend], data: st.DataObject) -> None:
    assert targets(data.draw(st.permutations(backends))) == targets(backends)
