"""Measures 4 and 5: how little of an account's slots is lost, and how soon an end is seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from app.bench.effort import Effort
from app.bench.figures import Figure, Goal, Yardstick, percentile
from app.bench.rig.arena import Arena
from app.bench.rig.gateway import running_gateway
from app.bench.rig.sightings import SeenTask, list_seen
from app.bench.rig.upstream import UpstreamOptions
from app.bench.schedules import Asking, ask_like_sdk, find_makespan

SCALE = 0.1


@dataclass(frozen=True, slots=True)
class Course:
    """One kind of task, how many of it, and what is asked of the gateway."""

    name: str
    upstream: UpstreamOptions
    tasks: int
    efficiency_goal: float


@dataclass(frozen=True, slots=True)
class Drained:
    """A queue worked off: what the upstream and the gateway saw of it."""

    course: Course
    tasks: Sequence[SeenTask]
    calls: dict[str, int]

    @property
    def seconds(self) -> float:
        """From the first create to the last end, by the upstream's clock."""
        first = min(task.times.created_at for task in self.tasks)
        return (max(task.times.ended_at for task in self.tasks) - first).total_seconds()

    @property
    def durations(self) -> list[float]:
        return [task.times.seconds for task in self.tasks]

    @property
    def creates(self) -> int:
        return self.calls.get("create", 0)

    @property
    def looks(self) -> int:
        """Calls that only ask; creates are not among them."""
        return self.calls.get("list", 0) + self.calls.get("query", 0)


async def measure_drain(arena: Arena, effort: Effort) -> list[Figure]:
    figures = []
    for course in make_courses(effort):
        figures += judge(await drain(arena, course))
    return sorted(figures, key=lambda figure: figure.number)


def make_courses(effort: Effort) -> tuple[Course, Course]:
    few = effort is Effort.QUICK
    return (
        Course(
            "45 s tasks",
            UpstreamOptions(median_seconds=45, sigma=0.5, scale=SCALE),
            tasks=30 if few else 300,
            efficiency_goal=99,
        ),
        Course(
            "10 s tasks",
            UpstreamOptions(median_seconds=10, sigma=0.4, scale=SCALE),
            tasks=60 if few else 300,
            efficiency_goal=98,
        ),
    )


async def drain(arena: Arena, course: Course) -> Drained:
    """Accept everything, then let one worker send it out and bring it home."""
    async with running_gateway(arena, course.upstream) as gateway:
        await gateway.send(await gateway.add_team("only"), course.tasks)
        gateway.start_workers(1)
        await gateway.wait_for_ends()
        calls = await gateway.upstream.count_calls()
        return Drained(course, await list_seen(gateway.pool, gateway.upstream), calls)


def judge(drained: Drained) -> list[Figure]:
    course, slots = drained.course, drained.course.upstream.slots
    scale = course.upstream.scale
    askings = [ask_like_sdk(seconds, scale=scale) for seconds in drained.durations]
    ideal_seconds = find_makespan(drained.durations, slots)
    note = f"{len(drained.tasks)} tasks, {slots} slots, time scale {scale:g}"
    efficiency = Figure(
        number="4",
        measure=f"drain efficiency, {course.name}",
        result=100 * ideal_seconds / drained.seconds,
        unit="%",
        goal=Goal(low=course.efficiency_goal),
        yardstick=Yardstick(
            "SDK cadence", 100 * ideal_seconds / _find_sdk_seconds(drained, askings)
        ),
        note=f"{note}; slot use {sum(drained.durations) / slots / drained.seconds:.1%}",
    )
    return [efficiency, *_judge_watching(drained, askings, note)]


def _find_sdk_seconds(drained: Drained, askings: Sequence[Asking]) -> float:
    """Each slot idles until the SDK asks, then while the next task is submitted and started."""
    between_seconds = median(task.submit_seconds for task in drained.tasks) + min(
        task.times.pending_seconds for task in drained.tasks
    )
    held = [
        between_seconds + seconds + asking.delay_seconds
        for seconds, asking in zip(drained.durations, askings, strict=True)
    ]
    return find_makespan(held, drained.course.upstream.slots)


def _judge_watching(drained: Drained, askings: Sequence[Asking], note: str) -> list[Figure]:
    """Delays are given at full scale: what does not shrink with time counts 1/scale fold."""
    name, scale = drained.course.name, drained.course.upstream.scale
    delays = [task.delay_seconds / scale for task in drained.tasks]
    sdk_delays = [asking.delay_seconds / scale for asking in askings]
    sdk_calls = sum(asking.calls for asking in askings)
    count = len(drained.tasks)
    return [
        Figure(
            number="5",
            measure=f"detection delay, mean, {name}",
            result=fmean(delays),
            unit="s",
            goal=Goal(high=0.6),
            yardstick=Yardstick("SDK cadence", fmean(sdk_delays)),
            note=f"{note}; the shortest was {min(delays) * scale:.3f} s of real time",
        ),
        Figure(
            number="5",
            measure=f"detection delay, p95, {name}",
            result=percentile(delays, 0.95),
            unit="s",
            goal=Goal(high=1.1),
            yardstick=Yardstick("SDK cadence", percentile(sdk_delays, 0.95)),
            note=note,
        ),
        Figure(
            number="5",
            measure=f"list and query calls a second, {name}",
            result=drained.looks / drained.seconds * scale,
            goal=Goal(high=2.0),
            yardstick=Yardstick("SDK cadence", sdk_calls / drained.seconds * scale),
            note=note,
        ),
        Figure(
            number="5",
            measure=f"list and query calls a task, {name}",
            result=drained.looks / count,
            yardstick=Yardstick("SDK cadence", sdk_calls / count),
            note=note,
        ),
    ]
