"""What an upstream refusal asks of us, by its code (pure).

Source: Alibaba Cloud Model Studio, "Error codes" and "Rate limits"; the codes decide, because the
HTTP status does not: exhausted quota has been answered with 403 and with 429.
"""

from enum import StrEnum

MAX_RETRY_AFTER_SECONDS = 60.0
"""A measured 429 asked for 21 days; recovery normally takes less than a minute."""


class Reaction(StrEnum):
    """What to do about a definite refusal of a create."""

    FAIL = "fail"
    """The request itself is at fault: the job ends."""
    WAIT = "wait"
    """The account is over a rate: the job waits its turn again."""
    SUSPEND = "suspend"
    """The account cannot work until a person mends it: its jobs wait."""


_WAITING = ("Throttling", "LimitRequests", "ModelServingError", "ModelUnavailable")
_SUSPENDING = (
    "InvalidApiKey",
    "NOT AUTHORIZED",
    "AccessDenied",
    "Arrearage",
    "AllocationQuota",
    "Throttling.AllocationQuota",
    "insufficient_quota",
    "CommodityNotPurchased",
    "PrepaidBillOverdue",
    "PostpaidBillOverdue",
    "Model.AccessDenied",
    "Workspace.AccessDenied",
    "App.AccessDenied",
    "WorkSpaceNotFound",
)


def react_to(http_status: int, code: str) -> Reaction:
    """The reaction to a refused create; the most specific code wins."""
    if _is_one_of(code, _SUSPENDING):
        return Reaction.SUSPEND
    if _is_one_of(code, _WAITING) or http_status in (408, 429):
        return Reaction.WAIT
    if http_status in (401, 403):
        return Reaction.SUSPEND
    return Reaction.FAIL


def is_definite(http_status: int) -> bool:
    """Whether that answer to a create says for certain that no task was made."""
    return 400 <= http_status < 500 and http_status != 408


def _is_one_of(code: str, codes: tuple[str, ...]) -> bool:
    return any(code == known or code.startswith(f"{known}.") for known in codes)
