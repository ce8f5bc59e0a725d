"""Requests made up from the OpenAPI document: no 5xx, and every answer as the document says."""

import asyncio
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import APIOperation, Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.errors import InvalidSchema
from schemathesis.core.result import Ok, Result
from schemathesis.generation.modes import GenerationMode
from schemathesis.openapi import from_dict
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.api.factories import Caller

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

REQUESTS_COUNT = 400
"""Of all calls together, so that the time stays the same when there are more of them."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_every_answer_is_as_the_document_says(caller: Caller, mode: GenerationMode) -> None:
    document = (await caller.http.get("/openapi.json")).json()

    await asyncio.to_thread(try_every_call, caller, document, mode)


def try_every_call(caller: Caller, document: dict[str, Any], mode: GenerationMode) -> None:
    operations = [to_operation(found) for found in from_dict(document).get_all_operations()]
    for operation in operations:

        @seed(20261123)
        @settings(
            max_examples=REQUESTS_COUNT // len(operations),
            database=None,
            deadline=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            case.call_and_validate(
                base_url=caller.backstage.url,
                headers={"Authorization": f"Bearer {caller.key}"},
                checks=CHECKS,
                timeout=20,
            )

        ask()


def to_operation(
    found: Result[APIOperation[Any, Any, Any, Any], InvalidSchema],
) -> APIOperation[Any, Any, Any, Any]:
    assert isinstance(found, Ok), found
    return found.ok()
