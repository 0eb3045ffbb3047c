"""Times of crons."""

from __future__ import annotations

import pytest

from consumers.builds.cron_schedule import check_schedule


@pytest.mark.parametrize(
    "schedule",
    ["* * * * *", "*/5 0-6/2 1,15 jan-MAR sun", "59 23 31 12 7", "0 0 * * mon,wed", "@daily"],
)
def test_times_are_accepted(schedule: str) -> None:
    assert check_schedule(f" {schedule}  ") == schedule


@pytest.mark.parametrize(
    "schedule",
    ["", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *",
     "* * * * 8", "5-1 * * * *", "*/0 * * * *", "*-5 * * * *", "a * * * *", "1, * * * *",
     "@never", "٣ * * * *", "* * * mon *"],
)  # fmt: skip
def test_what_is_no_time_is_refused(schedule: str) -> None:
    with pytest.raises(ValueError, match=r"needs five fields|is no"):
        check_schedule(schedule)
