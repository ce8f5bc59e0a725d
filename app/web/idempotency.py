"""The Idempotency-Key header. Source: IETF draft-ietf-httpapi-idempotency-key-header."""

from starlette.requests import Request

from app.kit.errors import FieldProblem, InvalidRequest

KEY_LENGTH_LIMIT = 255


def read_idempotency_key(request: Request) -> str | None:
    """The key, quoted as the draft says or bare; raises InvalidRequest for an unusable one."""
    value = request.headers.get("idempotency-key")
    if value is None:
        return None
    key = value.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > KEY_LENGTH_LIMIT or not key.isascii() or not key.isprintable():
        raise InvalidRequest.from_problems(
            (
                FieldProblem(
                    ("Idempotency-Key",),
                    "bad_idempotency_key",
                    f"needs 1 to {KEY_LENGTH_LIMIT} printable ASCII characters; it has "
                    f"{len(key)}: use a fresh UUID per request",
                    {"max": KEY_LENGTH_LIMIT, "actual": len(key)},
                ),
            )
        )
    return key
