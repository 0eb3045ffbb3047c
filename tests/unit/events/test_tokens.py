"""Names and subjects that break the grammar are refused where they are written."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events import builds, nodes, streams, subjects, tokens
from events.bus import Message, addressed
from events.envelope import wrap
from events.memory_log import matches
from events.tokens import MAX_LENGTH, InvalidName

ALPHABET = string.ascii_letters + string.digits + "_-"
GOOD = st.text(ALPHABET, min_size=1, max_size=MAX_LENGTH)
BAD = (
    st.text(max_size=40).filter(lambda text: not text or not set(text) <= set(ALPHABET))
    | st.text(ALPHABET, min_size=MAX_LENGTH + 1, max_size=MAX_LENGTH + 9)
)  # fmt: skip
FACT = builds.BuildStarted(build_id="bld_1", deployment_id="dep_1")
JOB = builds.BuildRequested(build_id="bld_1", deployment_id="dep_1")

WRITERS: dict[str, Callable[[str], object]] = {
    "a fact's aggregate": lambda text: subjects.of(wrap(FACT, subject=text, source="t")),
    "a fact's project": lambda text: subjects.of(
        wrap(FACT, subject="b", source="t", project_id=text or " ")
    ),
    "a job's aggregate": lambda text: subjects.of(wrap(JOB, subject=text, source="t")),
    "a filter's project": lambda text: subjects.facts(nodes.NodeLost, project=_tame(text)),
    "a filter's aggregate": lambda text: subjects.facts(nodes.NodeLost, subject=_tame(text)),
    "a kind of aggregate": subjects.aggregate_facts,
    "a redrive's durable": subjects.redrive,
    "a letter's stream": lambda text: subjects.dead_letter(_tame(text), "d", "r"),
    "a letter's durable": lambda text: subjects.dead_letter("S", _tame(text), "r"),
    "a letter's reason": lambda text: subjects.dead_letter("S", "d", _tame(text)),
    "a heartbeat's node": subjects.heartbeat,
    "a log's source": lambda text: subjects.log("build", text),
    "a deferral's durable": lambda text: streams.deferral(text, 1),
    "an advisory's durable": lambda text: streams.max_deliveries_advisory("S", text),
    "a durable": lambda text: replace(streams.GITHUB, name=text),
    "a durable's stream": lambda text: replace(streams.GITHUB, stream=text),
    "a durable's filter": lambda text: replace(streams.GITHUB, filters=(f"zw.evt.{text}.a ",)),
    "a stream": lambda text: replace(streams.EVENTS, name=text),
    "a stream's subject": lambda text: replace(streams.EVENTS, subjects=(f"{text} ",)),
    "a message": lambda text: addressed(Message(f"zw.evt.0.{text} ", b"")),
}
LINE_BREAK = "bld_1\r\nPUB zw.evt.0.x 0"  # another command, for a client that lets it pass


def _tame(text: str) -> str:
    """Filters may hold a `*`; whatever else there is may not."""
    return "a*" if text == tokens.WILD else text


@pytest.mark.parametrize("writer", WRITERS.values(), ids=list(WRITERS))
@given(text=BAD)
@example(text="")
@example(text="a.b")
@example(text="*")
@example(text=">")
@example(text="a\n")
@example(text="bld_é")
@example(text=LINE_BREAK)
def test_a_name_that_breaks_the_grammar_is_refused(
    writer: Callable[[str], object], text: str
) -> None:
    with pytest.raises(InvalidName) as caught:
        writer(text)
    assert (caught.value.code, caught.value.retryable) == ("invalid_name", False)
    assert "\n" not in caught.value.message


@given(project=GOOD, id_=GOOD)
def test_a_subject_of_good_names_is_found_by_its_filters(project: str, id_: str) -> None:
    subject = subjects.of(wrap(FACT, subject=id_, source="t", project_id=project))
    assert subject.split(".")[5:] == [project, id_]
    assert tokens.subject(subject) == subject
    assert streams.holding(subject) is streams.EVENTS
    for found in (
        subjects.facts(builds.BuildStarted),
        subjects.facts(builds.BuildStarted, project=project, subject=id_),
        subjects.aggregate_facts("build"),
    ):
        assert tokens.pattern(found) == found
        assert matches(found, subject)


@pytest.mark.parametrize(
    "subject", ["", ".", "a.", ".a", "a..b", "a.*", "a.>", ">", "a b", "$JS.API.X", "a.b\n"]
)
def test_a_message_goes_to_a_whole_subject(subject: str) -> None:
    with pytest.raises(InvalidName):
        tokens.subject(subject)


@pytest.mark.parametrize("filter_", ["", ".", ">", "a.>.b", "a.b*", "a.>>", "a b", "a.$JS", "*>"])
def test_a_filter_has_its_wildcards_for_whole_tokens(filter_: str) -> None:
    with pytest.raises(InvalidName):
        tokens.pattern(filter_)


@pytest.mark.parametrize("filter_", ["a", "*.a", "a.*.b", "a.>", "a.*.>", "$JS.EVENT.A.>"])
def test_filters_may_have_wildcards(filter_: str) -> None:
    assert tokens.pattern(filter_) == filter_


@pytest.mark.parametrize("type_", ["build", "build.", "build.a.b", "Build.a", "b-c.d", "b.c\n", ""])
def test_an_event_type_is_two_words(type_: str) -> None:
    with pytest.raises(InvalidName):
        tokens.event_type(type_)
