"""The content of an answer, read up to a limit."""

import httpx

ANSWER_BYTES_LIMIT = 8 * 1024 * 1024


class AnswerTooLarge(Exception):
    """An answer beyond any that the API gives."""


async def read_capped(response: httpx.Response) -> bytes:
    """Raises AnswerTooLarge, and what httpx does; the answer is closed in any case."""
    content = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_BYTES_LIMIT:
                raise AnswerTooLarge
    finally:
        await response.aclose()
    return bytes(content)
