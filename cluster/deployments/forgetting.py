"""Who makes room in what is remembered: whoever has the most of it, oldest first, so that nobody
pays for what another uses."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from stationkeep.cluster.names import party

MAX_ACCOUNTS = 40
"""Names of actors can be invented, so those beyond so many are reckoned as one: of a thousand
things remembered whoever has the most has 25 at least."""
_Thing = TypeVar("_Thing", int, str)


def in_turn(sizes: dict[_Thing, int], whose: Callable[[_Thing], str]) -> Iterator[_Thing]:
    """Things of these sizes, oldest first, as they go: the oldest of whoever has the most, again
    and again."""
    accounts: dict[str, deque[_Thing]] = {}
    for thing in sizes:
        owner = party(whose(thing))
        named = owner in accounts or len(accounts) < MAX_ACCOUNTS
        accounts.setdefault(owner if named else "", deque()).append(thing)
    used = {name: sum(sizes[thing] for thing in own) for name, own in accounts.items()}
    while used:
        most = max(used, key=used.__getitem__)
        thing = accounts[most].popleft()
        used[most] -= sizes[thing]
        if not accounts[most]:
            del used[most]
        yield thing
