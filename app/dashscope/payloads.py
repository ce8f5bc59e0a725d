"""DashScope's wire shapes: what travels in requests and answers of the task API (pure).

Source: Alibaba Cloud Model Studio, "Wan2.5 general image editing" and "Manage asynchronous
tasks"; field by field in docs/upstream.md.
"""

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from app.dashscope.reading import Text, TextOrEmpty, TextOrNone, each_or_else, or_else

UPSTREAM_ZONE = timezone(timedelta(hours=8))
"""Wall clock of every textual time on the wire, in both regions."""

ASYNC_HEADER = "X-DashScope-Async"
OSS_RESOLVE_HEADER = "X-DashScope-OssResourceResolve"
SESSION_HEADER = "x-dashscope-sdk-session-id"

IMAGE_TO_IMAGE_PATH = "/services/aigc/image2image/image-synthesis"
TEXT_TO_IMAGE_PATH = "/services/aigc/text2image/image-synthesis"

PROMPT_LIMIT = 2_000
NEGATIVE_PROMPT_LIMIT = 500
IMAGES_LIMIT = 3
IMAGE_SIDE_RANGE = (384, 5_000)
IMAGE_BYTES_LIMIT = 10 * 1024 * 1024
DATA_URI_BYTES_LIMIT = 10_485_760
OUTPUT_AREA_RANGE = (768 * 768, 1280 * 1280)
ASPECT_LIMIT = 4
N_RANGE = (1, 4)
N_DEFAULT = 4
SEED_RANGE = (0, 2_147_483_647)
EARLIEST, LATEST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""What is not in between is no time of a task's."""
COUNT_LIMIT = 10_000
ROWS_LIMIT = 1_000
"""Of a page, which has a hundred at most; beyond it they count as unreadable."""
"""Of images in one answer: what is beyond is no count."""

TaskId = Annotated[Text, Field(min_length=1, max_length=200, pattern=r"[^.\s]")]
"""It stands in a path, where dots alone lead elsewhere."""


class TaskStatus(StrEnum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    UNKNOWN = "UNKNOWN"

    @property
    def is_final(self) -> bool:
        return self in FINAL_TASK_STATUSES


FINAL_TASK_STATUSES = frozenset(
    {TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.CANCELED, TaskStatus.UNKNOWN}
)


def to_wire_time(moment: datetime) -> str:
    """`YYYY-MM-DD HH:mm:ss.SSS`, UTC+8, no offset: the form of a task query's times."""
    return moment.astimezone(UPSTREAM_ZONE).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def parse_wire_time(text: str) -> datetime:
    """The aware UTC moment of a task query's time; ValueError when it is not one."""
    naive = datetime.fromisoformat(text)
    return naive.replace(tzinfo=naive.tzinfo or UPSTREAM_ZONE).astimezone(UTC)


def to_list_time(moment: datetime) -> str:
    """`YYYYMMDDhhmmss`, UTC+8: the form of the list call's start_time and end_time."""
    return moment.astimezone(UPSTREAM_ZONE).strftime("%Y%m%d%H%M%S")


def parse_list_time(text: str) -> datetime:
    """The aware UTC moment of a list filter; ValueError when it is not one."""
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UPSTREAM_ZONE).astimezone(UTC)


def _from_wire_time(value: object) -> object:
    return parse_wire_time(value) if isinstance(value, str) else value


def _from_millis(value: object) -> object:
    if isinstance(value, str):
        return _from_millis(int(value)) if value.isdecimal() else parse_wire_time(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value


def _check_age(moment: datetime | None) -> datetime | None:
    """A zero or another unit is no time: it would put a task outside every create's."""
    if moment is not None and not EARLIEST <= moment < LATEST:
        raise ValueError("not of this API's time")
    return moment


def _from_status_word(value: object) -> object:
    is_odd = isinstance(value, str) and value not in set(TaskStatus)
    return TaskStatus.RUNNING if is_odd else value


Moment = Annotated[AwareDatetime | None, AfterValidator(_check_age)]
WireTime = Annotated[Moment, BeforeValidator(_from_wire_time), or_else(None)]
MillisTime = Annotated[Moment, BeforeValidator(_from_millis), or_else(None)]
StatusWord = Annotated[TaskStatus, BeforeValidator(_from_status_word)]
"""A word that nobody knows means, as for the SDKs, that the task goes on."""
Count = Annotated[int | None, Field(ge=0, le=COUNT_LIMIT), or_else(None)]


class WireShape(BaseModel):
    """Unknown fields are ignored: the upstream adds some without notice.

    A field that nobody needs to know is None, or empty, where it cannot be read.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


class ErrorBody(WireShape):
    code: TextOrEmpty = ""
    message: TextOrEmpty = ""
    request_id: TextOrEmpty = ""


class ResultItem(WireShape):
    """One picture of a task: a URL, or the code and message of its failure."""

    url: TextOrNone = None
    orig_prompt: TextOrNone = None
    actual_prompt: TextOrNone = None
    code: TextOrNone = None
    message: TextOrNone = None


class TaskMetrics(WireShape):
    succeeded: Annotated[Count, Field(validation_alias="SUCCEEDED")] = None


class TaskOutput(WireShape):
    task_id: TaskId
    task_status: StatusWord
    submit_time: WireTime = None
    scheduled_time: WireTime = None
    end_time: WireTime = None
    results: Annotated[
        tuple[ResultItem, ...], each_or_else(ResultItem, ResultItem.model_validate)
    ] = ()
    code: TextOrNone = None
    message: TextOrNone = None
    task_metrics: Annotated[TaskMetrics | None, or_else(None)] = None


class TaskUsage(WireShape):
    image_count: Count = None
    """What is billed; None when the answer does not say."""


class TaskAnswer(WireShape):
    """The answer to a query; unreadable only if it does not say of which task and how it is."""

    request_id: TextOrEmpty = ""
    output: TaskOutput
    usage: Annotated[TaskUsage | None, or_else(None)] = None

    @property
    def image_count(self) -> int:
        """What is billed: by the usage, else the metrics, else as many as there are pictures.

        Metrics that tell of fewer than there are pictures are not believed.
        """
        if self.usage is not None and self.usage.image_count is not None:
            return self.usage.image_count
        metrics, shown = (
            self.output.task_metrics,
            sum(bool(one.url) for one in self.output.results),
        )
        return max(shown, (metrics and metrics.succeeded) or 0)


class NamedTask(WireShape):
    task_id: TaskId


class CreateAnswer(WireShape):
    """The answer to a create: the name of a task is all that makes it one."""

    request_id: TextOrEmpty = ""
    output: NamedTask


class ListedTask(WireShape):
    """One row of the list call: metadata only, times as epoch milliseconds."""

    task_id: TaskId
    status: StatusWord
    request_id: TextOrEmpty = ""
    api_key_id: TextOrNone = None
    model_name: TextOrNone = None
    gmt_create: MillisTime = None
    start_time: MillisTime = None
    end_time: MillisTime = None


class TaskPage(WireShape):
    """One page of the list, as far as it can be read."""

    request_id: TextOrEmpty = ""
    data: tuple[ListedTask, ...] = ()
    total: int = 0
    total_page: int = 0
    unreadable: int = 0
    """Rows and counts that could not be read: what they stand for is not known."""

    @model_validator(mode="before")
    @classmethod
    def _read_rows(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        rows = body.get("data")
        total, total_page = (_to_count(body.get(name)) for name in ("total", "total_page"))
        unreadable = (total is None) + (total_page is None)
        if not isinstance(rows, list) and total is None:
            raise ValueError("neither rows nor their number")
        if not isinstance(rows, list):
            rows, unreadable = [], unreadable + max(total or 0, 1)
        read = [row for each in rows[:ROWS_LIMIT] if (row := _read_row(each)) is not None]
        return {
            "request_id": body.get("request_id"),
            "data": read,
            "total": total or 0,
            "total_page": total_page or 0,
            "unreadable": unreadable + len(rows) - len(read),
        }


def _read_row(row: object) -> ListedTask | None:
    try:
        return ListedTask.model_validate(row)
    except ValidationError:
        return None


def _to_count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count and isinstance(value, int) else None


class UploadPolicy(WireShape):
    """Where and how a local file is posted; the signed policy is the credential."""

    policy: Text
    signature: Text
    upload_dir: Text
    upload_host: Text
    oss_access_key_id: Text
    x_oss_object_acl: Annotated[Text, or_else("private")] = "private"
    x_oss_forbid_overwrite: Annotated[Text, or_else("true")] = "true"


class UploadPolicyAnswer(WireShape):
    data: UploadPolicy


def make_create_body(
    model: str, input_fields: dict[str, Any], parameters: dict[str, Any]
) -> dict[str, Any]:
    """The body of a create call, keys in the order the SDKs send them."""
    return {"model": model, "parameters": parameters, "input": input_fields}
