"""Two accounts, one at fault: its jobs end on the other, and it is asked but rarely."""

from collections import Counter

from app.kit.crypto import Vault
from tests.factories import make_account
from tests.gateway import SECRET, Gateway, running_gateway
from tests.journeys.traveller import ACCOUNT_KEY, Traveller, query
from tests.waiting import wait_until

SOUND_KEY = "sk-sound-0123456789"
JOB_COUNT = 24

_WHERE = """
select accounts.name, attempts.outcome, count(*) from attempts
join accounts on accounts.id = attempts.account_id group by 1, 2
"""

_PROBE_NOW = "update account_paces set paused_until = now() where is_suspended"


async def count_attempts(gateway: Gateway) -> Counter[tuple[str, str]]:
    rows = await query(gateway, _WHERE)
    return Counter({(row["name"], row["outcome"]): row["count"] for row in rows})


async def is_default_suspended(gateway: Gateway) -> bool:
    rows = await query(
        gateway,
        "select is_suspended from account_paces join accounts on accounts.id = account_id"
        " where name = 'default'",
    )
    return any(row["is_suspended"] for row in rows)


async def test_jobs_of_an_account_in_arrears_end_on_the_other(database: str) -> None:
    async with running_gateway(database) as gateway:
        await make_account(
            gateway.sessions,
            Vault((SECRET,)),
            name="sound",
            base_url=gateway.upstream_url,
            api_key=SOUND_KEY,
            submit_rate=100,
            query_rate=100,
        )
        await gateway.set_faults(
            {"on": "create", "do": "arrearage", "match": {"key": ACCOUNT_KEY}}
        )
        traveller = Traveller(gateway, gateway.seat)

        done = await traveller.finish([await traveller.send() for _ in range(JOB_COUNT)])

        assert Counter(job["status"] for job in done) == {"succeeded": JOB_COUNT}
        assert await count_attempts(gateway) == {
            ("sound", "accepted"): JOB_COUNT,
            ("default", "refused"): 1,
        }

        await gateway.set_faults()
        await query(gateway, _PROBE_NOW)
        later = [await traveller.send() for _ in range(JOB_COUNT)]
        assert {job["status"] for job in await traveller.finish(later)} == {"succeeded"}

        async def is_back() -> bool:
            return not await is_default_suspended(gateway)

        await wait_until(is_back)
        assert (await count_attempts(gateway))[("default", "accepted")] > 0
