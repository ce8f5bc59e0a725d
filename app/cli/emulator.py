"""The upstream's stand-in as a process."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from pydantic import ValidationError

from app.cli.output import say
from app.emulator.disturb.faults import load_faults
from app.emulator.options import EmulatorOptions, EventTarget, parse_key, parse_span
from app.emulator.server import DEFAULT_PORT, serve_emulator
from app.kit.errors import InvalidRequest
from app.kit.ports import check_listening

T = TypeVar("T")

_ClockSkew = Annotated[
    float, typer.Option(help="How far ahead of ours its clock is; below 0: behind.")
]
_EventsUrl = Annotated[
    str | None, typer.Option(help="Push completion events there, as EventBridge does.")
]
_EventsToken = Annotated[
    str, typer.Option(help="Token of those events.", envvar="DASHGATE_EVENTBRIDGE_TOKEN")
]


def read(option: str, parse: Callable[[], T]) -> T:
    """The option's value; raises InvalidRequest, which names it."""
    try:
        return parse()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"{option}: {place or 'the file'}: {first['msg']}") from None
    except (ValueError, OSError) as error:
        raise InvalidRequest(f"{option}: {error}") from None


def emulator(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
    running_seconds: Annotated[
        str, typer.Option(help="How long a task runs: 40, or 30-75 to draw from.")
    ] = "30-75",
    ttl_seconds: Annotated[
        float, typer.Option(min=1, help="How long an ended task is remembered.")
    ] = 24 * 3600,
    time_scale: Annotated[
        float, typer.Option(min=0, help="Multiplies all times of a task; 0.01 hurries.")
    ] = 1.0,
    strict_inputs: Annotated[
        bool, typer.Option("--strict-inputs", help="An unreachable URL fails its task.")
    ] = False,
    strict_create: Annotated[
        bool, typer.Option("--strict-create", help="Bad fields are refused at the create.")
    ] = False,
    key: Annotated[
        list[str] | None, typer.Option(help="Let in only KEY or KEY=ACCOUNT; repeatable.")
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(help="JSON file of faults to inject.", exists=True)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Makes durations and faults repeatable.")
    ] = None,
    clock_skew_seconds: _ClockSkew = 0.0,
    events_url: _EventsUrl = None,
    events_token: _EventsToken = "",
) -> None:
    """Stand in for DashScope: same wire, same limits, no bill."""
    address = f"http://{host}:{port}"
    options = EmulatorOptions(
        keys=read("--key", lambda: dict(parse_key(text) for text in key or ())),
        running_seconds=read("--running-seconds", lambda: parse_span(running_seconds)),
        ttl_seconds=ttl_seconds,
        time_scale=time_scale,
        strict_inputs=strict_inputs,
        strict_create=strict_create,
        faults=read("--faults", lambda: load_faults(faults) if faults else ()),
        seed=seed,
        clock_skew_seconds=clock_skew_seconds,
        events=EventTarget(url=events_url, token=events_token) if events_url else None,
        events_root=address,
    )
    check_listening(host, port)
    say(f"The emulator stands in for DashScope at {address}/api/v1")
    serve_emulator(options, host, port)
