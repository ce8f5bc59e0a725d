"""One API process that is attacked by all tests here, and another team that must not notice."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.adversary.siege import Toll, siege
from tests.gateway import Gateway


@pytest.fixture
async def target(idle_gateway: Gateway) -> AsyncIterator[Gateway]:
    """One API process that all tests here attack."""
    yield idle_gateway
    idle_gateway.check_health()


@pytest.fixture
async def toll(
    target: Gateway, record_property: Callable[[str, object], None]
) -> AsyncIterator[Toll]:
    """What the test costs another team, whose jobs must all be accepted meanwhile.

    Its figures are in the report of `--junit-xml` with `-o junit_family=xunit1`.
    """
    async with siege(target, await target.make_seat()) as toll:
        yield toll
    toll.expect_little()
    for name, figure in toll.tell().items():
        record_property(name, figure)
