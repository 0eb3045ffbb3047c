"""kill -9 between any two steps: nothing acknowledged is lost, and nothing happens twice."""

from __future__ import annotations

import pytest

from tests.failures.platform import Platform
from zeitwork.failpoints import Failpoint

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(330)]


@pytest.mark.parametrize(
    ("process", "point"),
    [
        ("api", Failpoint.WEBHOOK_STORED),
        ("api", Failpoint.WEBHOOK_COMMITTED),
        ("api", Failpoint.RELAY_CLAIMED),
        ("api", Failpoint.RELAY_PUBLISHED),
        ("consumers", Failpoint.HANDLER_ENTERED),
        ("consumers", Failpoint.HANDLER_APPLIED),
        ("consumers", Failpoint.HANDLER_COMMITTED),
        ("consumers", Failpoint.BUILD_TAKEN),
        ("consumers", Failpoint.BUILD_FETCHED),
        ("consumers", Failpoint.BUILD_BUILT),
        ("consumers", Failpoint.BUILD_STORED),
        ("consumers", Failpoint.BUILD_RECORDED),
        ("node", Failpoint.NODE_REPORTING),
    ],
)
async def test_a_push_survives_the_death_of_a_process(
    running_platform: Platform, process: str, point: Failpoint
) -> None:
    platform = running_platform
    sha = platform.repository.commit({"index.html": str(point)})
    async with platform.sender.load(per_second=10, most=5):
        await platform.die_at(process, point, lambda: platform.sender.push(sha))
    await platform.settle()
    await platform.goes_live(f"after {point}")
