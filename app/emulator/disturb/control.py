"""The emulator's own controls, which no upstream has: faults, bill and figures."""

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.emulator.disturb.faults import RULES
from app.emulator.doors import to_json
from app.emulator.options import EventTarget
from app.emulator.upstream import Upstream

EVENT_TARGET: TypeAdapter[EventTarget | None] = TypeAdapter(EventTarget | None)


class Controls:
    """What tests and operators ask and tell the emulator, below /_emulator."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def routes(self) -> list[Route]:
        return [
            Route("/faults", self.get_faults),
            Route("/faults", self.put_faults, methods=["PUT"]),
            Route("/bill", self.get_bill),
            Route("/stats", self.get_stats),
            Route("/events", self.get_events),
            Route("/events", self.put_events, methods=["PUT"]),
            Route("/certificate.pem", self.get_certificate),
        ]

    async def get_faults(self, request: Request) -> Response:
        return to_json(self._upstream.faults.report())

    async def put_faults(self, request: Request) -> Response:
        """Replace the rules by the JSON list in the body; 422 names what is wrong in it."""
        try:
            rules = RULES.validate_json(await request.body())
        except ValidationError as invalid:
            return to_json({"problems": _list_problems(invalid)}, 422)
        self._upstream.faults.arm(rules)
        return to_json(self._upstream.faults.report())

    async def get_bill(self, request: Request) -> Response:
        return to_json(self._upstream.bill.report() | {"calls": self._upstream.tally.calls()})

    async def get_stats(self, request: Request) -> Response:
        return to_json(self._upstream.tally.report())

    async def get_events(self, request: Request) -> Response:
        return to_json(self._upstream.events.report())

    async def put_events(self, request: Request) -> Response:
        """Push to the target in the body from now on, to none when it is `null`; 422 as above."""
        try:
            target = EVENT_TARGET.validate_json(await request.body())
        except ValidationError as invalid:
            return to_json({"problems": _list_problems(invalid)}, 422)
        self._upstream.events.aim(target, self._upstream.find_root(str(request.base_url)))
        return to_json(self._upstream.events.report())

    async def get_certificate(self, request: Request) -> Response:
        pem = self._upstream.events.certificate_pem
        return Response(pem, media_type="application/x-pem-file")


def _list_problems(invalid: ValidationError) -> list[str]:
    return [
        f"{'.'.join(map(str, error['loc']))}: {error['msg']}{_quote(error['input'])}"
        for error in invalid.errors(include_url=False)
    ]


def _quote(value: object) -> str:
    is_short = isinstance(value, str | int | float) and len(str(value)) <= 60
    return f" (it was {value!r})" if is_short else ""
