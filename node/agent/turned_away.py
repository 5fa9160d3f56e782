"""A node that will not speak with a device: 401 and 403, and what may come of another try.

Source: guide/access.md, "Refusals".
"""

import msgspec
from websockets.http11 import Response

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.system.printable import printable

STATUSES = (401, 403)
MOST_DETAIL = 200
"""Characters of what a node says."""
LONGEST_AWAY = 300.0
"""Seconds before another try. The first ones come sooner: a node may not know of a token yet."""
AWAY_FOR_LONG = 9
"""So many times in a row, and more, it is the longest."""
REVOKED = "revoked"
"""The rule of what was good once and never is again."""


class _Said(msgspec.Struct):
    """Of a problem document."""

    detail: str = ""
    rule: str = ""


class TurnedAway(msgspec.Struct, frozen=True):
    """What a node said: its status, the rule, and a line for people."""

    status: int
    rule: str
    line: str

    @property
    def is_over(self) -> bool:
        """Whether no node will ever have this token: it was revoked, or is for something else. Of
        one that is not known, or has expired, another node or another clock may think otherwise."""
        return self.rule in {REVOKED, "role"}


def turned_away(response: Response) -> TurnedAway:
    """What a node says with a response of these `STATUSES`."""
    return turned_away_by(response.status_code, bytes(response.body or b""))


def turned_away_by(status: int, body: bytes) -> TurnedAway:
    """The same, of a status and a body."""
    try:
        said = msgspec.json.decode(body, type=_Said)
    except UNREADABLE:
        said = _Said()
    rule, detail = printable(said.rule, 20), printable(said.detail, MOST_DETAIL)
    why = detail if not rule or rule in detail else f"{detail} (rule: {rule})"
    return TurnedAway(status, rule, f"the node answered {status}: {why or 'it gives no reason'}")


def away_pause(times: int) -> float:
    """Seconds before another try, after so many in a row; 0 for none."""
    return min(LONGEST_AWAY, 2.0**times) if times else 0.0
