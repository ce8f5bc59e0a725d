"""Links to pictures: unforgeable, stable for an hour, never good for long."""

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.jobs.links import Links, is_signed, parse_picture_index, picture_name
from app.kit.crypto import Vault

JOB = UUID("0198c0f2-0000-7000-8000-000000000001")
OTHER_JOB = UUID("0198c0f2-0000-7000-8000-000000000002")
NOON = datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)
VAULT = Vault(("only-for-tests-" * 3,))
TTL = 24 * 3600
LINKS = Links(VAULT, "https://pictures.example", TTL)


def read(url: str) -> tuple[str, int, str]:
    """Name, expiry and signature of a link."""
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    return parts.path.rpartition("/")[2], int(query["expires"][0]), query["signature"][0]


def is_good(url: str, *, now: datetime, job_id: UUID = JOB, vault: Vault = VAULT) -> bool:
    name, expires, signature = read(url)
    return is_signed(vault, job_id, name, expires=expires, signature=signature, now=now)


def link(now: datetime = NOON, index: int = 0) -> str:
    return LINKS.picture_url(JOB, index, content_type="image/png", now=now)


@given(st.integers(0, 2 * 3600))
def test_a_link_is_good_for_its_time_and_at_most_an_hour_more(seconds: int) -> None:
    made_at = NOON + timedelta(seconds=seconds)
    url = link(made_at)

    assert is_good(url, now=made_at + timedelta(seconds=TTL - 1))
    assert not is_good(url, now=made_at + timedelta(seconds=TTL + 3600))


def test_links_of_the_same_hour_are_the_same() -> None:
    assert link(NOON) == link(NOON + timedelta(minutes=5))
    assert link(NOON) != link(NOON + timedelta(hours=1))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-0.png", "-1.png"),
        ("expires=1", "expires=2"),
        ("signature=", "signature=0"),
        (".png", ""),
    ],
)
def test_a_link_that_was_touched_is_good_for_nothing(old: str, new: str) -> None:
    assert not is_good(link().replace(old, new), now=NOON)


def test_a_link_is_good_for_no_other_job_and_under_no_other_secret() -> None:
    assert not is_good(link(), now=NOON, job_id=OTHER_JOB)
    assert not is_good(link(), now=NOON, vault=Vault(("another-secret-" * 3,)))


def test_a_link_outlives_the_rotation_of_the_secret() -> None:
    rotated = Vault(("another-secret-" * 3, "only-for-tests-" * 3))

    assert is_good(link(), now=NOON, vault=rotated)


def test_the_last_segment_is_a_file_name_of_its_own() -> None:
    assert read(link(index=2))[0] == f"{JOB}-2.png"
    assert picture_name(JOB, 0, "image/jpeg") == f"{JOB}-0.jpg"
    assert picture_name(JOB, 0, "application/x-odd") == f"{JOB}-0.bin"


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("content_type", ["image/png", "image/webp", "application/x-odd"])
def test_the_name_of_a_picture_leads_back_to_its_index(index: int, content_type: str) -> None:
    assert parse_picture_index(JOB, picture_name(JOB, index, content_type)) == index
    assert parse_picture_index(JOB, str(index)) == index


@pytest.mark.parametrize("name", ["", "x", "-1", "²", "1" * 5_000, f"{OTHER_JOB}-0.png", "0x1"])
def test_a_name_that_is_no_picture_of_the_job_has_no_index(name: str) -> None:
    assert parse_picture_index(JOB, name) is None
