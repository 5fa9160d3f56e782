"""The body of an HTTP answer, of a known size at the most, whoever answers."""

import httpx


class TooLarge(httpx.DecodingError):
    """The answer has more bytes than whoever asked takes, or may have once it is unpacked."""


async def read(response: httpx.Response, most: int) -> bytes:
    """The body of a streamed answer; `TooLarge` beyond `most` bytes, or when it is compressed,
    which nobody here asks for: a few bytes can stand for millions."""
    if response.headers.get("content-encoding", "identity") != "identity":
        raise TooLarge("compressed")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > most:
            raise TooLarge(f"more than {most} bytes")
    return bytes(content)
