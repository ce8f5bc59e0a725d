"""Completion events: what EventBridge pushes to a target when a task has ended."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any
from uuid import uuid4

import httpx
import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from app.dashscope.eventbridge import (
    CERTIFICATE_HEADER,
    EVENT_SOURCE,
    EVENT_TYPE,
    HASH_HEADER,
    HASH_METHOD,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOKEN_HEADER,
    VERSION,
    VERSION_HEADER,
    Push,
    sign_push,
)
from app.dashscope.payloads import UPSTREAM_ZONE, TaskStatus
from app.emulator.options import EventTarget
from app.emulator.tasks import Task
from app.kit.clock import Clock

CERTIFICATE_PATH = "/_emulator/certificate.pem"
PUSH_TIMEOUT_SECONDS = 10.0
_TOLD = {TaskStatus.SUCCEEDED, TaskStatus.FAILED}
_CERTIFICATE_LIFE = timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where events go, and where the receiver finds our certificate."""

    target: EventTarget
    certificate_url: str


class EventPoster:
    """Pushes each ended task to the target, once or more often, at once or late; never again."""

    def __init__(self, region: str, clock: Clock) -> None:
        self._region = region
        self._clock = clock
        self._aim: _Aim | None = None
        self._pushes: set[asyncio.Task[None]] = set()
        self._outcomes: Counter[str] = Counter()

    def aim(self, target: EventTarget | None, root: str = "") -> None:
        """Push to that target from now on; `root` is our own address as the receiver sees it."""
        self._aim = None
        if target is not None:
            self._aim = _Aim(target, root.rstrip("/") + CERTIFICATE_PATH)

    def announce(self, task: Task) -> None:
        """Push the end of a task in the background, if there is a target and it is an end."""
        if self._aim is None or task.status not in _TOLD:
            return
        push = asyncio.create_task(self._push(self._aim, self._make_event(task)))
        self._pushes.add(push)
        push.add_done_callback(self._pushes.discard)

    def report(self) -> dict[str, Any]:
        """The target without its token, and how many pushes were answered how."""
        target = self._aim and self._aim.target.model_dump(exclude={"token"})
        return {"target": target, "pushes": dict(self._outcomes)}

    @property
    def certificate_pem(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    async def close(self) -> None:
        for push in self._pushes:
            push.cancel()
        await asyncio.gather(*self._pushes, return_exceptions=True)

    async def _push(self, aim: _Aim, event: bytes) -> None:
        await asyncio.sleep(aim.target.delay_seconds)
        async with httpx.AsyncClient(timeout=PUSH_TIMEOUT_SECONDS, trust_env=False) as http:
            for _ in range(aim.target.copies):
                headers = self._sign(aim, event)
                try:
                    answer = await http.post(aim.target.url, content=event, headers=headers)
                except httpx.HTTPError as error:
                    self._outcomes[type(error).__name__] += 1
                else:
                    self._outcomes[str(answer.status_code)] += 1

    def _sign(self, aim: _Aim, event: bytes) -> dict[str, str]:
        headers = {
            TIMESTAMP_HEADER: str(round(self._clock().timestamp() * 1000)),
            HASH_HEADER: HASH_METHOD,
            VERSION_HEADER: VERSION,
            CERTIFICATE_HEADER: aim.certificate_url,
            TOKEN_HEADER: aim.target.token,
        }
        headers[SIGNATURE_HEADER] = sign_push(Push(aim.target.url, headers, event), self._key)
        return headers | {"content-type": "application/json"}

    def _make_event(self, task: Task) -> bytes:
        assert task.ended_at is not None
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        started_at = task.started_at or task.submitted_at
        times = {
            name: moment.astimezone(UPSTREAM_ZONE).strftime("%Y-%m-%d %H:%M:%S")
            for name, moment in (("start_time", started_at), ("end_time", task.ended_at))
        }
        event = {
            "datacontenttype": "application/json;charset=utf-8",
            "aliyunaccountid": task.caller.uid,
            "aliyunpublishtime": now,
            "data": times
            | {
                "user_api_unique_key": task.unique_key,
                "task_status": task.status,
                "contain_result": False,
                "task_id": task.task_id,
                "region": self._region,
                "request_id": task.request_id,
                "api_key_id": task.caller.key_id,
            },
            "aliyunoriginalaccountid": task.caller.uid,
            "specversion": "1.0",
            "aliyuneventbusname": "default",
            "id": str(uuid4()),
            "source": EVENT_SOURCE,
            "time": now,
            "aliyunregionid": self._region,
            "type": EVENT_TYPE,
        }
        return orjson.dumps(event)

    @cached_property
    def _key(self) -> rsa.RSAPrivateKey:
        return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)

    @cached_property
    def _certificate(self) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "emulator")])
        now = self._clock()
        unsigned = x509.CertificateBuilder(
            issuer_name=name,
            subject_name=name,
            public_key=self._key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _CERTIFICATE_LIFE,
            not_valid_after=now + _CERTIFICATE_LIFE,
        )
        return unsigned.sign(self._key, SHA256())
