"""The wiring table of subjects: each event type has one line, and nothing else a subject."""

from __future__ import annotations

import re

import pytest

from events import builds, nodes, streams, subjects
from events.envelope import wrap
from events.event import REGISTRY
from events.streams import DURABLES, STREAMS

TOKEN = re.compile(r"[A-Za-z0-9_-]+")


@pytest.mark.parametrize("type_", sorted(REGISTRY))
def test_every_event_type_is_a_fact_or_work(type_: str) -> None:
    event = REGISTRY[type_]
    assert (event in subjects.FACTS) + (event in subjects.JOBS) == 1


def test_a_fact_goes_to_its_project_s_partition() -> None:
    fact = builds.BuildStarted(build_id="bld_1", deployment_id="dep_1")
    subject = subjects.of(wrap(fact, subject="bld_1", source="test", project_id="prj_1"))
    spot = subjects.partition("prj_1")
    assert subject == f"zw.evt.{spot}.build.started.prj_1.bld_1"
    assert streams.holding(subject) is streams.EVENTS


def test_a_fact_without_a_project_has_a_subject_too() -> None:
    subject = subjects.of(wrap(nodes.NodeReady(node_id="nod_1"), subject="nod_1", source="test"))
    assert subject.endswith(".node.ready.none.nod_1")


def test_work_goes_to_its_class() -> None:
    work = builds.BuildRequested(build_id="bld_1", deployment_id="dep_1")
    envelope = wrap(work, subject="bld_1", source="test", project_id="prj_1")
    assert subjects.of(envelope) == "zw.job.build.production.prj_1.bld_1"
    preview = subjects.of(envelope, job_class="preview")
    assert preview == "zw.job.build.preview.prj_1.bld_1"
    assert streams.holding(preview) is streams.JOBS


def test_partitions_are_stable() -> None:
    # Changing one would move a project's facts to another ordered consumer.
    spots = [subjects.partition(f"prj_{number}") for number in range(8)]
    assert spots == [4, 2, 8, 14, 13, 11, 1, 7]


def test_each_other_subject_has_its_stream() -> None:
    assert streams.holding("zw.redrive.github-v1.x") is streams.EVENTS
    assert streams.holding(subjects.dead_letter("ZW_JOBS", "b-v1", "timed_out")) is streams.DLQ
    assert streams.holding(subjects.log("build", "bld_1")) is streams.LOGS
    assert streams.holding(streams.deferral("b-v1", 5)) is streams.DEFERRALS


@pytest.mark.parametrize("subject", ["zw.events.x", "zw.evt", "zw.wake.outbox", ""])
def test_a_subject_without_a_stream_is_an_error(subject: str) -> None:
    with pytest.raises(LookupError):
        streams.holding(subject)


def test_durables_have_distinct_names_that_are_tokens() -> None:
    names = [durable.name for durable in DURABLES]
    assert len(set(names)) == len(names)
    assert all(TOKEN.fullmatch(name) for name in names)


def test_durables_pull_from_streams_that_hold_their_filters() -> None:
    by_name = {stream.name: stream for stream in STREAMS}
    for durable in DURABLES:
        for pattern in durable.filters:
            assert streams.holding(pattern) is by_name[durable.stream]


def test_durables_of_facts_take_their_own_redrive() -> None:
    for durable in DURABLES:
        if durable.stream == streams.EVENTS.name:
            assert subjects.redrive(durable.name) in durable.filters


def test_durables_can_carry_out_their_policy() -> None:
    for durable in DURABLES:
        assert durable.attempts >= 1
        assert durable.delays
        assert durable.deadline > 0
        # A `Later` that outlives its entry in the ledger would never end.
        assert max(durable.delays) < streams.DEFERRALS.max_age
