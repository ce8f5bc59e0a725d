"""One API process that is attacked by all tests here, and another team that must not notice."""

from collections.abc import AsyncIterator, Callable

import pytest

from tests.adversary.siege import Toll, siege
from tests.databases import cloned_database
from tests.gateway import Gateway, running_gateway

SETTINGS = {"DASHGATE_EVENTBRIDGE_TOKEN": "the-token-of-an-event-target"}
"""So that no door is missing."""


@pytest.fixture(scope="session")
async def shared_target(server_url: str, template: str) -> AsyncIterator[Gateway]:
    async with (
        cloned_database(server_url, template) as database_url,
        running_gateway(database_url, settings=SETTINGS, members=("api",)) as gateway,
    ):
        yield gateway


@pytest.fixture
async def target(shared_target: Gateway) -> AsyncIterator[Gateway]:
    shared_target.check_health()
    yield shared_target
    shared_target.check_health()
    shared_target.show_logs()


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
