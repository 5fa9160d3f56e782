"""The examples of the guide's page about the client, and how they are run."""

import ast
import asyncio
import re
from inspect import CO_COROUTINE
from types import SimpleNamespace
from typing import Any

from stationkeep.node.guide.pages import find

EXAMPLES = re.findall(r"^```python\n(.*?)^```", find("client").text, re.MULTILINE | re.DOTALL)
SLEEPLESS = SimpleNamespace(sleep=lambda _: asyncio.sleep(0.1))
"""In the place of `asyncio`: an example waits for a minute."""


def example(words: str) -> str:
    """The first with these words."""
    return next(text for text in EXAMPLES if words in text)


async def run(text: str, names: dict[str, Any]) -> None:
    """As at the prompt of `python -m asyncio`."""
    code = compile(text, "client.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ended = eval(code, names)
    if code.co_flags & CO_COROUTINE:
        await ended
