"""The content of an answer, read up to a limit, also of what it was packed into.

It is asked for as it is. A proxy that packs it all the same may do so once: what is unpacked
without a limit grows a thousandfold with each layer. Source: RFC 9110, 8.4.1.
"""

import zlib

import httpx

ANSWER_BYTES_LIMIT = 8 * 1024 * 1024
_ANY_HEADER = zlib.MAX_WBITS + 32  # zlib's own (`deflate`) or gzip's


class AnswerTooLarge(Exception):
    """An answer beyond any that the API gives."""


class AnswerPacked(Exception):
    """An answer in a coding that nobody asked for, or cut off within it."""


async def read_capped(response: httpx.Response) -> bytes:
    """Raises AnswerTooLarge, AnswerPacked, and what httpx does; the answer is closed anyway."""
    content = bytearray()
    try:
        unpacker = _find_unpacker(response.headers.get("content-encoding", ""))
        async for chunk in response.aiter_raw():
            rest = ANSWER_BYTES_LIMIT + 1 - len(content)
            content += chunk if unpacker is None else unpacker.decompress(chunk, rest)
            if len(content) > ANSWER_BYTES_LIMIT:
                raise AnswerTooLarge
    except zlib.error as error:
        raise AnswerPacked(str(error)) from error
    finally:
        await response.aclose()
    if unpacker is not None and not unpacker.eof:
        raise AnswerPacked("it ends within")
    return bytes(content)


def _find_unpacker(coding: str) -> "zlib._Decompress | None":
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(_ANY_HEADER)
        case _:
            raise AnswerPacked(coding[:64])
