"""One caller's request draws what speaks of the account: it fails, and nobody waits for it."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from app.kit.crypto import Vault
from tests.accounts.test_breaker_at_work import SOUND_KEY
from tests.emulator.client import QUICK
from tests.factories import make_account
from tests.gateway import SECRET, Gateway, running_gateway
from tests.journeys.traveller import Traveller, query
from tests.waiting import wait_until

POISON = "poison"
JOB_COUNT = 16
DENIED = {"status": 403, "code": "AccessDenied", "message": "Access denied."}
NO_URL = {"status": 400, "code": "InvalidParameter", "message": "url error, please check url!"}

CHANCE = {"status": 400, "code": "InternalError", "message": "An internal error has occured."}
TOO_OFTEN = {"status": 429, "code": "Throttling.RateQuota", "message": "Too many requests."}


def poison(words: dict[str, Any], **match: str) -> dict[str, Any]:
    return {"on": "create", "do": "status", "match": match or {"prompt": POISON}, **words}


async def suspensions(gateway: Gateway) -> int:
    rows = await query(gateway, "select from account_events where type = 'account.suspended'")
    return len(rows)


async def add_sound(gateway: Gateway) -> None:
    await make_account(
        gateway.sessions,
        Vault((SECRET,)),
        name="sound",
        base_url=gateway.upstream_url,
        api_key=SOUND_KEY,
        submit_rate=100,
        query_rate=100,
    )


@pytest.mark.parametrize("words", [DENIED, NO_URL], ids=["denied", "url error"])
@pytest.mark.parametrize("accounts", [1, 2])
async def test_one_teams_poison_fails_by_itself_and_stops_nobody(
    database: str, words: dict[str, Any], accounts: int
) -> None:
    async with running_gateway(database) as gateway:
        if accounts == 2:
            await add_sound(gateway)
        await gateway.set_faults(poison(words))
        guilty = Traveller(gateway, gateway.seat)
        others = Traveller(gateway, await gateway.make_seat())
        bad = await guilty.send(prompt=POISON)

        done = await others.finish([await others.send() for _ in range(JOB_COUNT)])
        assert Counter(job["status"] for job in done) == {"succeeded": JOB_COUNT}

        async def is_over() -> bool:
            await others.finish([await others.send()])
            return bool((await guilty.get(bad))["status"] == "failed")

        await wait_until(is_over, seconds=40)
        error = (await guilty.get(bad))["error"]
        assert (error["code"], error["message"]) == (words["code"], words["message"])
        assert await suspensions(gateway) == 0


@pytest.mark.parametrize("words", [DENIED, CHANCE], ids=["denied", "chance"])
async def test_many_poison_jobs_of_one_team_stop_the_others_for_seconds_only(
    database: str, words: dict[str, Any]
) -> None:
    async with running_gateway(database) as gateway:
        await gateway.set_faults(poison(words))
        guilty = Traveller(gateway, gateway.seat)
        others = Traveller(gateway, await gateway.make_seat())
        bad = [await guilty.send(prompt=POISON) for _ in range(8)]

        done = await others.finish([await others.send() for _ in range(JOB_COUNT)])
        assert Counter(job["status"] for job in done) == {"succeeded": JOB_COUNT}

        async def is_over() -> bool:
            await others.finish([await others.send()])
            return all([(await guilty.get(job))["status"] == "failed" for job in bad])

        await wait_until(is_over, seconds=60)


async def test_a_job_that_is_throttled_whenever_it_comes_lets_the_others_go(
    database: str,
) -> None:
    async with running_gateway(database) as gateway:
        await gateway.set_faults(poison(TOO_OFTEN))
        await Traveller(gateway, gateway.seat).send(prompt=POISON)
        others = Traveller(gateway, await gateway.make_seat())

        done = await others.finish([await others.send() for _ in range(JOB_COUNT)])

        assert Counter(job["status"] for job in done) == {"succeeded": JOB_COUNT}


async def test_a_lost_grant_is_found_within_a_few_creates_and_fails_no_job(database: str) -> None:
    slow = replace(QUICK, running_slots=2)
    async with running_gateway(database, emulator=slow) as gateway:
        await gateway.set_faults({"on": "create", "do": "status", **DENIED})
        one = Traveller(gateway, gateway.seat)
        two = Traveller(gateway, await gateway.make_seat())
        jobs = [(who, await who.send()) for _ in range(JOB_COUNT // 2) for who in (one, two)]

        async def is_suspended() -> bool:
            return await suspensions(gateway) > 0

        await wait_until(is_suspended, seconds=20)
        refused = await query(gateway, "select from attempts where outcome = 'refused'")
        assert len(refused) <= 4
        assert {(await who.get(job))["status"] for who, job in jobs} == {"queued"}

        await gateway.set_faults()
        await query(gateway, "update account_paces set paused_until = now() where is_suspended")
        done = [await who.wait_for(job) for who, job in jobs]
        assert Counter(job["status"] for job in done) == {"succeeded": JOB_COUNT}
