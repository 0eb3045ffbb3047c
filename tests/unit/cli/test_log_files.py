from __future__ import annotations

from contextlib import closing
from pathlib import Path

from cli.log_files import LogFile


def test_lines_are_appended_over_restarts(tmp_path: Path) -> None:
    for line in ("one", "two"):
        with closing(LogFile(tmp_path / "logs" / "api.log")) as log:
            log.write(line)
    assert (tmp_path / "logs" / "api.log").read_text() == "one\ntwo\n"


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "logs" / "api.log")) as log:
        log.write("line")
    assert (tmp_path / "logs" / "api.log").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700


def test_it_is_bounded_and_keeps_the_newest(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "api.log", max_bytes=100)) as log:
        for number in range(100):
            log.write(f"line {number}")
            assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 200
    kept = (tmp_path / "api.log.1").read_text() + (tmp_path / "api.log").read_text()
    lines = kept.splitlines()
    assert lines == [f"line {number}" for number in range(100 - len(lines), 100)]
    assert len(lines) > 10


def test_a_line_above_the_limit_is_written_whole(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "api.log", max_bytes=10)) as log:
        log.write("x" * 50)
        log.write("next")
    assert (tmp_path / "api.log.1").read_text() == "x" * 50 + "\n"
    assert (tmp_path / "api.log").read_text() == "next\n"


def test_a_file_that_a_larger_limit_left_is_rotated(tmp_path: Path) -> None:
    (tmp_path / "api.log").write_text("old\n" * 100)
    with closing(LogFile(tmp_path / "api.log", max_bytes=20)) as log:
        log.write("new")
    assert (tmp_path / "api.log").read_text() == "new\n"


def test_it_opens_again_after_a_close(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log")
    log.close()
    log.write("one")
    log.close()
    log.close()
    log.write("two")
    log.close()
    assert log.path.read_text() == "one\ntwo\n"


def test_text_that_cannot_be_encoded_is_no_reason_to_stop(tmp_path: Path) -> None:
    with closing(LogFile(tmp_path / "api.log")) as log:
        log.write("lone \udc80 surrogate")
    assert (tmp_path / "api.log").read_text() == "lone ? surrogate\n"
