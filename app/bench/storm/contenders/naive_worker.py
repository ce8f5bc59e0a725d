"""A worker of the naive gateway: `python -m app.bench.storm.contenders.naive_worker`.

It keeps each task's id once it knows it; a create whose answer was lost is simply sent again, by
this worker or, when the lease has lapsed, by another.
"""

import asyncio
import os
import random
from typing import Any

import asyncpg
import httpx

from app.bench.storm.contenders.contract import ACCOUNT_KEYS, draw_input
from app.dashscope.payloads import IMAGE_TO_IMAGE_PATH
from app.kit.postgres.database import Connection, connect

DESKS = 5
LEASE_SECONDS = 2.0
CREATE_SECONDS = 1.0
CALL_SECONDS = 5.0
LOOK_SECONDS = 0.2
RETRY_SECONDS = 0.3
MODEL = "wan2.5-i2i-preview"
API_KEYS = tuple(key for keys in ACCOUNT_KEYS.values() for key in keys)


class Desk:
    """A job at a time, from its claim to its pictures."""

    def __init__(self, connection: Connection, http: httpx.AsyncClient) -> None:
        self._connection = connection
        self._http = http
        self._image = draw_input()

    async def work(self) -> None:
        while True:
            api_key = random.choice(API_KEYS)  # noqa: S311
            job = await self._connection.fetchrow(_CLAIM, LEASE_SECONDS, api_key)
            if job is None:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                await self._finish(job)
            except httpx.HTTPStatusError as refused:
                await asyncio.sleep(RETRY_SECONDS)
                if refused.response.status_code == 403:
                    await self._connection.execute(_END, job["job_id"], "failed", [])
                else:
                    await self._connection.execute(_GIVE_BACK, job["job_id"])
            except (httpx.HTTPError, KeyError, ValueError):
                await asyncio.sleep(RETRY_SECONDS)
                await self._connection.execute(_GIVE_BACK, job["job_id"])

    async def _finish(self, job: asyncpg.Record) -> None:
        task_id = job["task_id"] or await self._create(job)
        while True:
            output = await self._query(job["api_key"], task_id)
            await self._connection.execute(_RENEW, job["job_id"], LEASE_SECONDS)
            if output["task_status"] in {"SUCCEEDED", "FAILED"}:
                break
            await asyncio.sleep(LOOK_SECONDS)
        urls = [item["url"] for item in output.get("results", ()) if "url" in item]
        pictures = [(await self._call(job["api_key"], "GET", url)).content for url in urls]
        status = "succeeded" if pictures else "failed"
        await self._connection.execute(_END, job["job_id"], status, pictures)

    async def _create(self, job: asyncpg.Record) -> str:
        body = {
            "model": MODEL,
            "input": {"prompt": job["prompt"], "images": [self._image]},
            "parameters": {"n": job["n"], "size": "768*768"},
        }
        answer = await self._call(
            job["api_key"], "POST", IMAGE_TO_IMAGE_PATH, json=body, timeout=CREATE_SECONDS
        )
        task_id: str = answer.json()["output"]["task_id"]
        await self._connection.execute(_NOTE_TASK, job["job_id"], task_id)
        return task_id

    async def _query(self, api_key: str, task_id: str) -> dict[str, Any]:
        answer = await self._call(api_key, "GET", f"/tasks/{task_id}")
        output: dict[str, Any] = answer.json()["output"]
        return output

    async def _call(self, api_key: str, method: str, url: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {api_key}", "X-DashScope-Async": "enable"}
        answer = await self._http.request(method, url, headers=headers, **options)
        return answer.raise_for_status()


async def run_worker(database_url: str, upstream_url: str) -> None:
    """Work until killed; a lost database ends the process, and a supervisor starts the next."""
    async with httpx.AsyncClient(
        base_url=upstream_url, timeout=CALL_SECONDS, trust_env=False
    ) as http:
        desks = [Desk(await connect(database_url), http) for _ in range(DESKS)]
        await asyncio.gather(*(desk.work() for desk in desks))


_CLAIM = """
update naive_jobs set lease_until = now() + make_interval(secs => $1),
    api_key = coalesce(api_key, $2)
where number = (
    select number from naive_jobs where status is null and lease_until < now()
    order by number limit 1 for update skip locked
) returning job_id, prompt, n, api_key, task_id
"""
_RENEW = """
update naive_jobs set lease_until = now() + make_interval(secs => $2) where job_id = $1
"""
_GIVE_BACK = "update naive_jobs set lease_until = '-infinity' where job_id = $1"
_NOTE_TASK = "update naive_jobs set task_id = $2 where job_id = $1"
_END = "update naive_jobs set status = $2, pictures = $3 where job_id = $1"

if __name__ == "__main__":
    asyncio.run(run_worker(os.environ["DATABASE_URL"], os.environ["UPSTREAM_URL"]))
