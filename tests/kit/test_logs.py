"""Logs: what Postgres quotes of a row stays out of them."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from app.kit.logs import configure_logs
from app.kit.postgres.database import UNWRITABLE, Pool


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, structure = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**structure)


@pytest.mark.usefixtures("logs_as_before")
async def test_the_row_that_broke_a_rule_is_not_in_the_log(
    pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs(level="info", as_json=True)

    try:
        await pool.execute(
            "insert into prices (id, model, region, unit_price, currency, valid_from)"
            " values (gen_random_uuid(), 'a private prompt', 'r', -1, 'CNY', now())"
        )
    except UNWRITABLE:
        structlog.get_logger("test").exception("row.refused")

    told = capsys.readouterr().err
    assert "row.refused" in told
    assert "ck_prices_unit_price_not_negative" in told
    assert "a private prompt" not in told


@pytest.mark.usefixtures("logs_as_before")
@pytest.mark.parametrize("as_json", [True, False])
def test_no_text_of_others_reaches_a_terminal_as_a_command(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logs(level="info", as_json=as_json)

    structlog.get_logger("test").info("request.answered", path="/a\x1b[2J\nb\u202e\x9b")
    logging.getLogger("foreign").warning("said \x1b[2J")

    told = capsys.readouterr().err
    assert len(told.splitlines()) == 2
    assert not set("\x1b\x9b\u202e") & set(told) or as_json
    assert "\x1b" not in told


@pytest.mark.usefixtures("logs_as_before")
def test_a_traceback_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(level="info", as_json=False)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        structlog.get_logger("test").exception("failed")

    told = capsys.readouterr().err
    assert len(told.splitlines()) > 3
    assert "\\x1b[2J" in told
