"""The scene of the whole engine: one account, two workers, a team that floods and a quiet one."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from app.bench.drain import SCALE, Course, Drained
from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick, percentile
from app.bench.rig.arena import Arena
from app.bench.rig.gateway import running_gateway
from app.bench.rig.sightings import SeenTask, list_seen
from app.bench.rig.upstream import UpstreamOptions
from app.bench.schedules import find_makespan, list_starts, shares_of_ideal

FLOOD, QUIET = "flood", "quiet"
FLOOD_SHARE = 0.8
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Shared:
    """The queue of two teams worked off, and what it looked like to each."""

    drained: Drained

    @property
    def scale(self) -> float:
        return self.drained.course.upstream.scale

    def waits(self, team: str) -> list[float]:
        """Seconds at full scale from the first create to each start of the team's."""
        first = min(task.times.created_at for task in self.drained.tasks)
        return [
            (task.times.started_at - first).total_seconds() / self.scale
            for task in self.drained.tasks
            if task.team == team
        ]

    def fifo_waits(self, team: str) -> list[float]:
        """The same, had the jobs gone out in the order in which they were accepted."""
        tasks = sorted(self.drained.tasks, key=lambda task: task.team == QUIET)
        slots = self.drained.course.upstream.slots
        starts = list_starts([task.times.seconds for task in tasks], slots)
        return [
            start / self.scale
            for task, start in zip(tasks, starts, strict=True)
            if task.team == team
        ]


async def measure_sharing(arena: Arena, effort: Effort) -> list[Figure]:
    course = Course(
        "10 s tasks",
        UpstreamOptions(median_seconds=10, sigma=0.4, scale=SCALE),
        tasks=60 if effort is Effort.QUICK else 300,
        efficiency_goal=98,
    )
    return judge_sharing(await share(arena, course))


async def share(arena: Arena, course: Course) -> Shared:
    """The flood is accepted whole before the first job of the quiet team."""
    flood = round(course.tasks * FLOOD_SHARE)
    async with running_gateway(arena, course.upstream) as gateway:
        await gateway.send(await gateway.add_team(FLOOD), flood)
        await gateway.send(await gateway.add_team(QUIET), course.tasks - flood)
        gateway.start_workers(WORKERS)
        await gateway.wait_for_ends()
        calls = await gateway.upstream.count_calls()
        seen = await list_seen(gateway.pool, gateway.upstream)
        return Shared(Drained(course, seen, calls))


def judge_sharing(shared: Shared) -> list[Figure]:
    drained, scale = shared.drained, shared.scale
    slots, count = drained.course.upstream.slots, len(drained.tasks)
    note = (
        f"{count} jobs of two equal teams, {slots} slots, {WORKERS} workers, time scale {scale:g}"
    )
    slot_seconds = slots * drained.seconds
    ideal_seconds = slots * find_makespan(drained.durations, slots)
    delays = [task.delay_seconds / scale for task in drained.tasks]
    busy = sum(drained.durations)
    lines = (
        ("slot use", 100 * busy / slot_seconds, "%", None,
         Yardstick("ideal", 100 * busy / ideal_seconds)),
        ("calls a task, create included", (drained.looks + drained.creates) / count, "", None,
         None),
        ("detection delay, mean", fmean(delays), "s", Goal(high=0.6), None),
        ("detection delay, p95", percentile(delays, 0.95), "s", Goal(high=1.1), None),
        ("quiet team's share of ideal while both wait", find_contested_share(drained.tasks), "",
         Goal(0.95, 1.05), Yardstick("FIFO", 0.0)),
        *(
            (f"wait for a slot, mean, {team} team", fmean(shared.waits(team)), "s", None,
             Yardstick("FIFO", fmean(shared.fifo_waits(team))))
            for team in (FLOOD, QUIET)
        ),
    )  # fmt: skip
    return [
        Figure(
            number="shares",
            measure=measure,
            result=result,
            unit=unit,
            goal=goal,
            yardstick=yardstick,
            note=note,
        )
        for measure, result, unit, goal, yardstick in lines
    ]


def find_contested_share(tasks: Sequence[SeenTask]) -> float:
    """The quiet team's share of the creates until its last one, over the half it is due."""
    created = [task.team for task in sorted(tasks, key=lambda task: task.times.created_at)]
    last = len(created) - created[::-1].index(QUIET)
    counts = Counter(created[:last])
    return shares_of_ideal(counts, {FLOOD: 1.0, QUIET: 1.0})[QUIET]
