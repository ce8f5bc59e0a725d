"""What a refusal asks of us: the code decides, as the catalogue of the upstream says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.errors import Reaction, is_definite, react_to

FAIL, WAIT, SUSPEND = Reaction.FAIL, Reaction.WAIT, Reaction.SUSPEND

CATALOGUE = [
    (400, "InvalidParameter", FAIL),
    (400, "InvalidParameter.DataInspection", FAIL),
    (400, "BadRequest.EmptyInput", FAIL),
    (400, "BadRequest.EmptyParameters", FAIL),
    (400, "BadRequest.EmptyModel", FAIL),
    (400, "BadRequest.IllegalInput", FAIL),
    (400, "BadRequest.InputDownloadFailed", FAIL),
    (400, "InvalidURL", FAIL),
    (400, "InvalidURL.ConnectionRefused", FAIL),
    (400, "InvalidURL.Timeout", FAIL),
    (400, "InvalidImageResolution", FAIL),
    (400, "InvalidImageFormat", FAIL),
    (400, "InvalidImage.FileFormat", FAIL),
    (400, "InvalidImage.ImageSize", FAIL),
    (400, "DataInspectionFailed", FAIL),
    (400, "IPInfringementSuspect", FAIL),
    (404, "ModelNotFound", FAIL),
    (404, "model_not_supported", FAIL),
    (413, "BadRequest.TooLarge", FAIL),
    (400, "Arrearage", SUSPEND),
    (401, "InvalidApiKey", SUSPEND),
    (401, "NOT AUTHORIZED", SUSPEND),
    (403, "AccessDenied", SUSPEND),
    (403, "AccessDenied.Unpurchased", SUSPEND),
    (403, "Model.AccessDenied", SUSPEND),
    (403, "Workspace.AccessDenied", SUSPEND),
    (403, "App.AccessDenied", SUSPEND),
    (403, "AllocationQuota.FreeTierOnly", SUSPEND),
    (404, "WorkSpaceNotFound", SUSPEND),
    (429, "Throttling.AllocationQuota", SUSPEND),
    (429, "insufficient_quota", SUSPEND),
    (429, "CommodityNotPurchased", SUSPEND),
    (429, "PrepaidBillOverdue", SUSPEND),
    (429, "PostpaidBillOverdue", SUSPEND),
    (429, "Throttling", WAIT),
    (429, "Throttling.RateQuota", WAIT),
    (429, "LimitRequests", WAIT),
    (429, "Throttling.BurstRate", WAIT),
    (429, "Throttling.Concurrency", WAIT),
]


@pytest.mark.parametrize(("status", "code", "reaction"), CATALOGUE)
def test_each_code_of_the_catalogue_has_its_reaction(
    status: int, code: str, reaction: Reaction
) -> None:
    assert react_to(status, code) is reaction


@pytest.mark.parametrize(
    ("code", "reaction"), [("Throttling.AllocationQuota", SUSPEND), ("Throttling.RateQuota", WAIT)]
)
@pytest.mark.parametrize("status", [400, 403, 429])
def test_the_code_counts_more_than_the_status(status: int, code: str, reaction: Reaction) -> None:
    assert react_to(status, code) is reaction


@pytest.mark.parametrize(
    ("status", "reaction"), [(429, WAIT), (401, SUSPEND), (403, SUSPEND), (400, FAIL)]
)
def test_a_code_that_nobody_knows_goes_by_its_status(status: int, reaction: Reaction) -> None:
    assert react_to(status, "Brand.NewCode") is reaction


def test_a_code_is_not_taken_for_another_that_it_begins_like() -> None:
    assert react_to(400, "ThrottlingFree") is FAIL
    assert react_to(400, "ArrearageNotice") is FAIL


@given(st.integers(100, 599))
def test_only_a_refusal_of_the_request_itself_is_definite(status: int) -> None:
    assert is_definite(status) == (status in range(400, 500) and status != 408)
