"""What an upstream account may be: its region, its base URL and its limits (pure)."""

from dataclasses import dataclass
from decimal import Decimal
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.kit.errors import FieldProblem, InvalidRequest
from app.kit.names import find_name_problem

BASE_URLS = {
    "cn-beijing": "https://dashscope.aliyuncs.com/api/v1",
    "ap-southeast-1": "https://dashscope-intl.aliyuncs.com/api/v1",
}
BASE_PATH = "/api/v1"

MAX_RUNNING_LIMIT = 1000
RATE_LIMIT = 1000
API_KEY_LENGTH_LIMIT = 512
_HINT_LENGTH = 4
_HINTED_FROM_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountLimits:
    """What the upstream grants the account; rates are per second.

    The defaults are those of wan2.5-i2i-preview in both regions (Alibaba Cloud Model Studio,
    "Rate limits", 2026-06-25).
    """

    max_running: int = 5
    submit_rate: Decimal = Decimal(5)
    query_rate: Decimal = Decimal(20)
    weight: Decimal = Decimal(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to add; without a base URL it is the region's own."""

    name: str
    region: str
    api_key: SecretStr
    base_url: str | None = None
    limits: AccountLimits = AccountLimits()

    def resolved_base_url(self) -> str:
        return (self.base_url or BASE_URLS[self.region]).rstrip("/")


def check_account(account: NewAccount) -> None:
    """Raises InvalidRequest with every fault at once."""
    problems = [
        find_name_problem("name", account.name),
        _find_region_problem(account.region),
        _find_base_url_problem(account.base_url),
        _find_api_key_problem(account.api_key.get_secret_value()),
        *_find_limits_problems(account.limits),
    ]
    _refuse(problems)


def check_api_key(api_key: SecretStr) -> None:
    """Raises InvalidRequest."""
    _refuse([_find_api_key_problem(api_key.get_secret_value())])


def check_limits(limits: AccountLimits) -> None:
    """Raises InvalidRequest with every fault at once."""
    _refuse(_find_limits_problems(limits))


def region_of(base_url: str) -> str:
    """The region behind a base URL, as far as its host tells; Beijing otherwise."""
    host = urlsplit(base_url).hostname
    hosts = {urlsplit(url).hostname: region for region, url in BASE_URLS.items()}
    return hosts.get(host, "cn-beijing")


def to_hint(api_key: str) -> str:
    """The end of a key, to tell keys apart by; nothing of one that is short."""
    return api_key[-_HINT_LENGTH:] if len(api_key) >= _HINTED_FROM_LENGTH else ""


def _refuse(problems: list[FieldProblem | None]) -> None:
    found = tuple(problem for problem in problems if problem is not None)
    if found:
        raise InvalidRequest.from_problems(found)


def _find_region_problem(region: str) -> FieldProblem | None:
    if region in BASE_URLS:
        return None
    return FieldProblem(
        ("region",),
        "unknown_region",
        f"{region!r} is no region; there are {' and '.join(BASE_URLS)}",
        {"known": list(BASE_URLS)},
    )


def _find_base_url_problem(base_url: str | None) -> FieldProblem | None:
    if base_url is None:
        return None
    try:
        url = urlsplit(base_url)
        is_whole = bool(url.scheme in ("http", "https") and url.hostname and url.port != 0)
    except ValueError:
        is_whole = False
    if not is_whole or not base_url.isprintable() or " " in base_url:
        said = "it must be an http or https URL such as"
    elif url.username is not None or url.password is not None:
        said = "it must not carry a user or a password: give the API key apart. It reads like"
    elif url.query or url.fragment:
        said = "it must end with its path, without '?' and '#', such as"
    elif not url.path.rstrip("/").endswith(BASE_PATH):
        said = f"its path is {url.path or '/'!r} and must end in {BASE_PATH}, as in"
    else:
        return None
    return FieldProblem(("base_url",), "bad_base_url", f"{said} {BASE_URLS['cn-beijing']}")


def _find_api_key_problem(api_key: str) -> FieldProblem | None:
    is_sendable = api_key.isascii() and api_key.isprintable() and " " not in api_key
    if is_sendable and 1 <= len(api_key) <= API_KEY_LENGTH_LIMIT:
        return None
    return FieldProblem(
        ("api_key",),
        "bad_api_key",
        f"it must be 1 to {API_KEY_LENGTH_LIMIT} printable ASCII characters without a space; it "
        f"has {len(api_key)}",
    )


def _find_limits_problems(limits: AccountLimits) -> list[FieldProblem | None]:
    return [
        _find_number_problem("max_running", limits.max_running, MAX_RUNNING_LIMIT),
        _find_number_problem("submit_rate", limits.submit_rate, RATE_LIMIT),
        _find_number_problem("query_rate", limits.query_rate, RATE_LIMIT),
        _find_number_problem("weight", limits.weight, RATE_LIMIT),
    ]


def _find_number_problem(field: str, number: int | Decimal, limit: int) -> FieldProblem | None:
    value = Decimal(number)
    if value.is_finite() and 0 < value <= limit and value == round(value, 3):
        return None
    return FieldProblem(
        (field,),
        "out_of_range",
        f"{number} is not above 0 and up to {limit}, with at most 3 decimals",
        {"above": 0, "max": limit},
    )
