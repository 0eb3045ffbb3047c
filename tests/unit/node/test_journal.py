"""What a node remembers, and what it makes of what it cannot read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from node.journal import Entry, Journal
from node.runtimes.base import Handle
from tests.contracts.runtime import instance_spec


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def entry(instance_id: str = "ins_1") -> Entry:
    handle = Handle(
        instance_id=instance_id, pid=7, birth="b/1", mode="plain", port=20_000, run=Path("/run/1")
    )
    spec = instance_spec(instance_id=instance_id, env={"PASSWORD": "hunter2"})
    return Entry(spec=spec, handle=handle, ever_ready=True)


def test_what_is_saved_is_found_again(journal: Journal) -> None:
    journal.save(entry())
    assert journal.find("ins_1") == entry()
    assert list(journal.all()) == [entry()]


def test_a_later_entry_replaces_an_earlier_one(journal: Journal) -> None:
    journal.save(entry())
    changed = entry().model_copy(update={"handle": None})
    journal.save(changed)
    assert list(journal.all()) == [changed]


def test_entries_are_for_the_agents_eyes_only(journal: Journal, tmp_path: Path) -> None:
    journal.save(entry())
    (file,) = (tmp_path / "journal").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_an_empty_journal_holds_nothing(journal: Journal) -> None:
    assert journal.find("ins_1") is None
    assert list(journal.all()) == []
    journal.forget("ins_1")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe\x00 not text",
        entry().model_dump_json().encode()[:-20],
        b'{"spec": {"env": {"PASSWORD": "hunter2"}}}',
    ],
)
def test_a_damaged_entry_is_as_good_as_none_and_the_others_count(
    journal: Journal, tmp_path: Path, content: bytes
) -> None:
    journal.save(entry("ins_2"))
    (tmp_path / "journal" / "ins_1.json").write_bytes(content)
    with capture_logs() as logs:
        assert journal.find("ins_1") is None
        assert list(journal.all()) == [entry("ins_2")]
    assert {line["event"] for line in logs} == {"journal entry not understood"}
    assert "hunter2" not in str(logs)
    journal.save(entry())
    assert journal.find("ins_1") == entry()


def test_an_entry_whose_writing_was_cut_short_leaves_the_one_before(
    journal: Journal, tmp_path: Path
) -> None:
    journal.save(entry())
    aside = tmp_path / "journal" / "ins_1.new"
    aside.write_bytes(b'{"spec": {"inst')
    assert list(journal.all()) == [entry()]
    journal.forget("ins_1")
    assert list((tmp_path / "journal").iterdir()) == []


def test_an_entry_of_an_older_agent_is_read(journal: Journal, tmp_path: Path) -> None:
    journal.save(entry())
    path = tmp_path / "journal" / "ins_1.json"
    older = path.read_text().replace('"ever_ready":true', '"ever_ready":true,"former_field":1')
    path.write_text(older)
    assert journal.find("ins_1") == entry()
