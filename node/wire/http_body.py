"""Reads the body of an HTTP response up to a limit, whoever sends it."""

import httpx


class TooLarge(httpx.DecodingError):
    """The response is longer than the limit, or compressed and so of unknown length."""


async def read(response: httpx.Response, most: int) -> bytes:
    """The body of a streamed response. Raises `TooLarge` beyond `most` bytes, and when it is
    compressed, which we never ask for: a few bytes can expand to millions."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TooLarge("compressed")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > most:
            raise TooLarge(f"more than {most} bytes")
    return bytes(content)
