"""Secrets of ours in a text, and the text without them.

All begin with a prefix that nothing else begins with, so that one is known wherever it was put by
mistake: in a file, a field, a path, a log line.
"""

import re

HIDDEN = "(hidden)"
_SECRET = re.compile(r"whsec_[A-Za-z0-9+/=_-]+|sk[tdej]_[A-Za-z0-9._:@+-]+")
"""Of a webhook, a token, a device, an enrolment, a member that joins."""


def hide(text: str) -> str:
    """`text` with each secret replaced."""
    return _SECRET.sub(HIDDEN, text)


def holds_secret(text: str) -> bool:
    """Whether there is one in `text`."""
    return _SECRET.search(text) is not None
