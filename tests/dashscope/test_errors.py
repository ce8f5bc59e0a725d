"""What a refusal asks of us: the code decides, as the catalogue of the upstream says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dashscope.errors import Policy, Remedy, Scope, find_policy, is_definite

RETRY, WAIT, FAIL, BAR, PAGE = Remedy
JOB, KEY, MODEL, ACCOUNT = Scope

CATALOGUE = [
    (400, "InvalidParameter", FAIL, JOB),
    (400, "InvalidParameter.FileDownload", FAIL, JOB),
    (400, "InvalidParameter.DataInspection", RETRY, JOB),
    (400, "BadRequest.EmptyInput", PAGE, JOB),
    (400, "BadRequest.EmptyParameters", PAGE, JOB),
    (400, "BadRequest.EmptyModel", PAGE, JOB),
    (400, "BadRequest.IllegalInput", FAIL, JOB),
    (400, "BadRequest.InputDownloadFailed", FAIL, JOB),
    (400, "InvalidURL", FAIL, JOB),
    (400, "InvalidURL.ConnectionRefused", RETRY, JOB),
    (400, "InvalidURL.Timeout", RETRY, JOB),
    (400, "InvalidImageResolution", FAIL, JOB),
    (400, "InvalidImageFormat", FAIL, JOB),
    (400, "InvalidImage.FileFormat", FAIL, JOB),
    (400, "InvalidImage.ImageSize", FAIL, JOB),
    (400, "DataInspectionFailed", FAIL, JOB),
    (400, "IPInfringementSuspect", FAIL, JOB),
    (413, "BadRequest.TooLarge", FAIL, JOB),
    (400, "Arrearage", BAR, ACCOUNT),
    (401, "InvalidApiKey", BAR, KEY),
    (401, "invalid_api_key", BAR, KEY),
    (401, "NOT AUTHORIZED", BAR, KEY),
    (403, "AccessDenied", BAR, MODEL),
    (403, "AccessDenied.Unpurchased", BAR, MODEL),
    (403, "Model.AccessDenied", BAR, MODEL),
    (403, "Workspace.AccessDenied", BAR, KEY),
    (403, "App.AccessDenied", BAR, KEY),
    (403, "AllocationQuota.FreeTierOnly", BAR, MODEL),
    (404, "WorkSpaceNotFound", BAR, KEY),
    (404, "ModelNotFound", BAR, MODEL),
    (404, "model_not_supported", BAR, MODEL),
    (404, "NotFound", BAR, ACCOUNT),
    (429, "Throttling.AllocationQuota", BAR, MODEL),
    (429, "insufficient_quota", BAR, MODEL),
    (429, "CommodityNotPurchased", BAR, ACCOUNT),
    (429, "PrepaidBillOverdue", BAR, ACCOUNT),
    (429, "PostpaidBillOverdue", BAR, ACCOUNT),
    (429, "Throttling", WAIT, MODEL),
    (429, "Throttling.RateQuota", WAIT, MODEL),
    (429, "LimitRequests", WAIT, MODEL),
    (429, "Throttling.BurstRate", WAIT, MODEL),
    (429, "Throttling.Concurrency", WAIT, MODEL),
    (503, "ModelServingError", WAIT, MODEL),
    (503, "ModelUnavailable", WAIT, MODEL),
    (500, "InternalError", RETRY, MODEL),
    (500, "InternalError.Algo", RETRY, MODEL),
    (500, "InternalError.FileUpload", RETRY, MODEL),
    (500, "InternalError.Upload", RETRY, MODEL),
    (500, "InternalError.Timeout", RETRY, JOB),
    (500, "SystemError", RETRY, MODEL),
    (500, "ModelServiceFailed", RETRY, MODEL),
    (500, "RewriteFailed", RETRY, MODEL),
    (408, "RequestTimeOut", RETRY, MODEL),
]


@pytest.mark.parametrize(("status", "code", "remedy", "scope"), CATALOGUE)
def test_each_code_of_the_catalogue_has_its_policy(
    status: int, code: str, remedy: Remedy, scope: Scope
) -> None:
    policy = find_policy(code, status)

    assert (policy.remedy, policy.scope) == (remedy, scope)
    assert find_policy(code) == policy, "that of a failed task is the same"


@pytest.mark.parametrize(
    ("code", "remedy"), [("Throttling.AllocationQuota", BAR), ("Throttling.RateQuota", WAIT)]
)
@pytest.mark.parametrize("status", [400, 403, 429])
def test_the_code_counts_more_than_the_status(status: int, code: str, remedy: Remedy) -> None:
    assert find_policy(code, status).remedy is remedy


@pytest.mark.parametrize(
    ("status", "remedy", "scope"),
    [
        (401, BAR, KEY),
        (403, BAR, MODEL),
        (408, RETRY, MODEL),
        (413, FAIL, JOB),
        (429, WAIT, MODEL),
        (500, RETRY, MODEL),
        (599, RETRY, MODEL),
        (400, PAGE, JOB),
        (422, PAGE, JOB),
        (None, PAGE, JOB),
    ],
)
def test_a_code_that_nobody_knows_goes_by_its_status(
    status: int | None, remedy: Remedy, scope: Scope
) -> None:
    policy = find_policy("Brand.NewCode", status)

    assert (policy.remedy, policy.scope) == (remedy, scope)


@pytest.mark.parametrize("status", [400, 404, 405, 407, 418])
def test_a_refusal_without_a_code_is_the_roads_and_its_job_is_tried_again(status: int) -> None:
    policy = find_policy(f"HTTP{status}", status)

    assert (policy.remedy, policy.scope) == (PAGE, MODEL)
    assert policy.allows_retry(1, limit=5)


@pytest.mark.parametrize("message", ["Model not exist.", "url error, please check url!"])
def test_a_model_that_is_not_there_is_no_fault_of_the_request(message: str) -> None:
    policy = find_policy("InvalidParameter", 400, message)

    assert (policy.remedy, policy.scope) == (BAR, MODEL)
    assert find_policy("InvalidParameter", 400, "Range of n should be [1, 4]").remedy is FAIL
    assert find_policy("DataInspectionFailed", 400, message).remedy is FAIL


def test_a_code_is_not_taken_for_another_that_it_begins_like() -> None:
    assert find_policy("ThrottlingFree", 400).remedy is PAGE
    assert find_policy("ArrearageNotice", 400).remedy is PAGE


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("InvalidParameter", [False, False, False]),
        ("InvalidURL.Timeout", [True, False, False]),
        ("Brand.NewCode", [True, True, False]),
        ("InternalError", [True, True, True]),
    ],
)
def test_a_job_is_tried_again_as_often_as_its_code_allows(code: str, allowed: list[bool]) -> None:
    policy = find_policy(code, 400)

    assert [policy.allows_retry(failures, limit=3) for failures in (1, 2, 3)] == allowed
    assert not policy.allows_retry(4, limit=3)
    assert not policy.allows_retry(1, limit=0)


@given(st.text(), st.none() | st.integers(100, 599), st.text())
def test_every_answer_has_a_policy(code: str, status: int | None, message: str) -> None:
    assert isinstance(find_policy(code, status, message), Policy)


@given(st.integers(100, 599))
def test_only_a_refusal_of_the_request_itself_is_definite(status: int) -> None:
    assert is_definite(status) == (status in range(400, 500) and status != 408)
