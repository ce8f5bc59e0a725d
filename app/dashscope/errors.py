"""What an upstream refusal asks of us: one table from codes to policies (pure).

Source: Alibaba Cloud Model Studio, "Error codes" and "Rate limits"; the codes decide, because the
HTTP status does not: exhausted quota has been answered with 403 and with 429. None of them is
billed, so that a new attempt costs nothing.
"""

from dataclasses import dataclass
from enum import StrEnum

CROWDED_CODE = "Throttling.Concurrency"
"""Not too many calls but too many tasks at once."""


class Remedy(StrEnum):
    """What to do about a refused create, and about a task that failed."""

    RETRY = "retry"
    """Chance or the upstream's own trouble: a new attempt, within the job's limit."""
    WAIT = "wait"
    """The account is over a limit that passes: it sends less for a while, and the job waits."""
    FAIL = "fail"
    """The request is at fault: the job ends."""
    BAR = "bar"
    """The account is at fault: it rests until it is mended, the job waits or goes to another."""
    PAGE = "page"
    """Nobody has foreseen it: a person must look; the job is tried again a little, then ends."""


class Scope(StrEnum):
    """Who is at fault, or over a limit."""

    JOB = "job"
    KEY = "key"
    MODEL = "model"
    """The account for this model: limits and grants are per model."""
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Policy:
    """The reaction to a code."""

    remedy: Remedy
    scope: Scope = Scope.JOB
    retries: int | None = None
    """How often a job may be tried again for it; None: as often as jobs may be at all."""

    def allows_retry(self, failures: int, limit: int) -> bool:
        """Whether a job may be tried again that has failed so often, this time included.

        A refused create that must WAIT, or whose account is BARred, is no failure of its job.
        """
        if self.remedy is Remedy.FAIL:
            return False
        return failures <= (limit if self.retries is None else min(limit, self.retries))


@dataclass(frozen=True, slots=True)
class Row:
    """Codes with one policy; each stands for its sub-codes too, unless they have a row."""

    codes: tuple[str, ...]
    policy: Policy
    meaning: str
    says: str = ""
    """Only with a message that begins so, in any case of letters."""


_FAULTY = Policy(Remedy.FAIL)
_PERHAPS = Policy(Remedy.RETRY, retries=1)
_CHANCE = Policy(Remedy.RETRY, Scope.MODEL)
_BUSY = Policy(Remedy.WAIT, Scope.MODEL)
_KEY_BARRED = Policy(Remedy.BAR, Scope.KEY)
_MODEL_BARRED = Policy(Remedy.BAR, Scope.MODEL)
_ACCOUNT_BARRED = Policy(Remedy.BAR, Scope.ACCOUNT)

UNKNOWN_CODE = Policy(Remedy.PAGE, Scope.JOB, retries=2)
"""Its own word, and not in the table: it speaks of the request or of the account."""
NO_CODE = Policy(Remedy.PAGE, Scope.MODEL, retries=2)
"""Not its word: something on the road has answered, for the road's sake or for a word in it."""

POLICIES = (
    Row(
        ("InvalidParameter", "BadRequest", "InvalidURL"),
        _FAULTY,
        "the request is not one that the model takes",
    ),
    Row(
        ("InvalidImage", "InvalidImageFormat", "InvalidImageResolution"),
        _FAULTY,
        "an input image is not one that the model takes",
    ),
    Row(("DataInspectionFailed",), _FAULTY, "the inspection refuses an input or the result"),
    Row(("IPInfringementSuspect",), _FAULTY, "an input may infringe somebody's rights"),
    Row(
        ("InvalidParameter.DataInspection", "InvalidURL.Timeout", "InvalidURL.ConnectionRefused"),
        _PERHAPS,
        "an input's URL did not answer the upstream",
    ),
    Row(("InvalidParameter",), _MODEL_BARRED, "the same as `ModelNotFound`", "model not exist"),
    Row(("InvalidParameter",), _MODEL_BARRED, "the model is not behind this path", "url error"),
    Row(
        ("BadRequest.EmptyInput", "BadRequest.EmptyParameters", "BadRequest.EmptyModel"),
        Policy(Remedy.PAGE, retries=0),
        "the gateway sent a create that is not whole",
    ),
    Row(
        ("InternalError", "SystemError", "ModelServiceFailed", "RewriteFailed", "RequestTimeOut"),
        _CHANCE,
        "the upstream's own trouble",
    ),
    Row(("InternalError.Timeout",), _PERHAPS, "no result within 3 hours"),
    Row(
        ("Throttling", "LimitRequests", "limit_requests"),
        _BUSY,
        "over a rate, or rising too fast; passes within a minute",
    ),
    Row((CROWDED_CODE,), _BUSY, "more tasks at once than the account may have"),
    Row(("ModelServingError", "ModelUnavailable"), _BUSY, "the upstream has no room for anybody"),
    Row(
        ("Throttling.AllocationQuota", "AllocationQuota", "insufficient_quota"),
        _MODEL_BARRED,
        "the quota for this model is used up",
    ),
    Row(
        ("ModelNotFound", "model_not_supported"),
        _MODEL_BARRED,
        "this account's region does not offer the model",
    ),
    Row(
        ("AccessDenied", "Model.AccessDenied"),
        _MODEL_BARRED,
        "the account may not use the model",
    ),
    Row(
        ("InvalidApiKey", "invalid_api_key", "NOT AUTHORIZED"),
        _KEY_BARRED,
        "the API key is wrong, revoked or without a right",
    ),
    Row(
        ("Workspace.AccessDenied", "WorkSpaceNotFound", "App.AccessDenied"),
        _KEY_BARRED,
        "the API key's workspace may not use the model",
    ),
    Row(
        ("Arrearage", "PrepaidBillOverdue", "PostpaidBillOverdue", "CommodityNotPurchased"),
        _ACCOUNT_BARRED,
        "the account has a bill to pay, or the product to buy",
    ),
    Row(("NotFound",), _ACCOUNT_BARRED, "the base URL leads nowhere"),
)

POLICIES_BY_STATUS = {
    401: _KEY_BARRED,
    403: _MODEL_BARRED,
    408: _CHANCE,
    413: _FAULTY,
    429: _BUSY,
}
"""For codes that no row knows."""


def find_policy(code: str, http_status: int | None = None, message: str = "") -> Policy:
    """The policy of the most specific row, else of the status; a failed task has no status.

    An unknown 4xx is no proof that the request is at fault, so its job is tried again; and it
    fails in the end, since the prompt itself may be what is refused.
    """
    rows = [row for row in POLICIES if _speaks_of(row, code, message)]
    if rows:
        return max(rows, key=lambda row: _find_precision(row, code)).policy
    if http_status in POLICIES_BY_STATUS:
        return POLICIES_BY_STATUS[http_status]
    if http_status is not None and http_status >= 500:
        return _CHANCE
    return NO_CODE if code == f"HTTP{http_status}" else UNKNOWN_CODE


def is_definite(http_status: int) -> bool:
    """Whether that answer to a create says for certain that no task was made."""
    return 400 <= http_status < 500 and http_status != 408


def _speaks_of(row: Row, code: str, message: str) -> bool:
    return _find_precision(row, code)[0] > 0 and message.lower().startswith(row.says)


def _find_precision(row: Row, code: str) -> tuple[int, bool]:
    matching = (known for known in row.codes if code == known or code.startswith(f"{known}."))
    return max(map(len, matching), default=0), bool(row.says)
