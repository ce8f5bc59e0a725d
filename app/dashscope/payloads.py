"""DashScope's wire shapes: what travels in requests and answers of the task API (pure).

Source: Alibaba Cloud Model Studio, "Wan2.5 general image editing" and "Manage asynchronous
tasks"; field by field in docs/upstream.md.
"""

from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

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
    if isinstance(value, int):
        return datetime.fromtimestamp(value / 1000, UTC)
    return value


def _from_status_word(value: object) -> object:
    is_odd = isinstance(value, str) and value not in set(TaskStatus)
    return TaskStatus.RUNNING if is_odd else value


def _none_is_empty(value: object) -> object:
    return () if value is None else value


WireTime = Annotated[datetime, BeforeValidator(_from_wire_time)]
MillisTime = Annotated[datetime, BeforeValidator(_from_millis)]
StatusWord = Annotated[TaskStatus, BeforeValidator(_from_status_word)]
"""A word that nobody knows means, as for the SDKs, that the task goes on."""


class WireShape(BaseModel):
    """Unknown fields are ignored: the upstream adds some without notice."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ErrorBody(WireShape):
    code: str = ""
    message: str = ""
    request_id: str = ""


class TaskMetrics(WireShape):
    total: int = Field(0, alias="TOTAL")
    succeeded: int = Field(0, alias="SUCCEEDED")
    failed: int = Field(0, alias="FAILED")


class ResultItem(WireShape):
    """One picture of a task: a URL, or the code and message of its failure."""

    url: str | None = None
    orig_prompt: str | None = None
    actual_prompt: str | None = None
    code: str | None = None
    message: str | None = None


class TaskOutput(WireShape):
    task_id: str = Field(min_length=1)
    task_status: StatusWord
    submit_time: WireTime | None = None
    scheduled_time: WireTime | None = None
    end_time: WireTime | None = None
    results: Annotated[tuple[ResultItem, ...], BeforeValidator(_none_is_empty)] = ()
    task_metrics: TaskMetrics | None = None
    code: str | None = None
    message: str | None = None


class TaskUsage(WireShape):
    image_count: int = 0


class TaskAnswer(WireShape):
    """The answer to a create or a query."""

    request_id: str = ""
    output: TaskOutput
    usage: TaskUsage | None = None


class ListedTask(WireShape):
    """One row of the list call: metadata only, times as epoch milliseconds."""

    task_id: str = Field(min_length=1)
    status: StatusWord
    request_id: str = ""
    api_key_id: str | None = None
    model_name: str | None = None
    gmt_create: MillisTime
    start_time: MillisTime | None = None
    end_time: MillisTime | None = None


class TaskPage(WireShape):
    request_id: str = ""
    data: tuple[ListedTask, ...] = ()
    total: int = 0
    total_page: int = 0
    page_no: int = 1
    page_size: int = 10
    unreadable: int = 0
    """Rows that could not be read: what they stand for is not known."""


class UploadPolicy(WireShape):
    """Where and how a local file is posted; the signed policy is the credential."""

    policy: str
    signature: str
    upload_dir: str
    upload_host: str
    oss_access_key_id: str
    x_oss_object_acl: str = "private"
    x_oss_forbid_overwrite: str = "true"
    expire_in_seconds: int = 300
    max_file_size_mb: int = 1024


class UploadPolicyAnswer(WireShape):
    request_id: str = ""
    data: UploadPolicy


def make_create_body(
    model: str, input_fields: dict[str, Any], parameters: dict[str, Any]
) -> dict[str, Any]:
    """The body of a create call, keys in the order the SDKs send them."""
    return {"model": model, "parameters": parameters, "input": input_fields}
