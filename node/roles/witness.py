"""Tells the cluster from where tokens are used, and from where they are guessed at.

Of each token and address a node says so once, and again after a day: so that a list can say when a
token was last used, and whoever reads the history where somebody was who should not have been,
without a write to the log for each request. Source: guide/access.md, "Tokens".
"""

from stationkeep.cluster.access import MAX_NOTED
from stationkeep.cluster.commands import NoteAccess, Use
from stationkeep.cluster.settings import LONGEST as DAY
from stationkeep.node.duty import NEVER, OWED_TIMEOUT, Workbench
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.system.addresses import subscriber

MAX_WAITING = 64
"""Uses that are not in the log yet; what comes meanwhile is noted at its next use."""
MAX_TOLD = 4_096
"""Tokens and addresses of which nothing more is to be said today."""
PACE = 10.0
"""Seconds from one command to the next."""
GUESS_PACE = 600.0
"""Seconds from one address that guesses to the next one: who has many, and no token, is to fill
neither the log nor the history."""


class Witness:
    """What this node has seen, and the log does not know yet."""

    def __init__(self, bench: Workbench) -> None:
        self._bench, self._clock = bench, bench.host.clock
        self._uses: dict[Use, None] = {}
        self._guesses: tuple[str, ...] = ()
        """One at the most."""
        self._told: dict[tuple[str, str], float] = {}
        """The one that was told longest ago comes first; monotonic moments at which it may be told
        again."""
        self._not_before = self._guess_not_before = 0.0
        self._under_way = False

    def used(self, token: str, address: str) -> None:
        """Somebody came in by a token, as often as somebody does."""
        if len(self._uses) < MAX_WAITING and self._is_news(token, address):
            use = Use(token, subscriber(address))
            known = self._bench.replica.state.tokens.get(token)
            last = known.seen.get(use.address) if known is not None else None
            if last is None or self._clock.wall() - last >= DAY:
                self._uses[use] = None

    def guessed(self, address: str) -> None:
        """Wrong tokens come from there, again and again."""
        now = self._clock.monotonic()
        if self._guesses or now < self._guess_not_before:
            return
        who = subscriber(address)
        if self._is_news("", who):
            self._guesses, self._guess_not_before = (who,), now + GUESS_PACE

    def _is_news(self, token: str, address: str) -> bool:
        key, now = (token, address), self._clock.monotonic()
        if self._told.get(key, now) > now:
            return False
        self._told.pop(key, None)
        self._told[key] = now + DAY / 1_000
        if len(self._told) > MAX_TOLD:
            del self._told[next(iter(self._told))]
        return True

    def turn(self) -> None:
        """Says what is to be said."""
        if self.next_wakeup() <= self._clock.monotonic():
            uses = tuple(self._uses)[: MAX_NOTED - 1]
            self._under_way, self._not_before = True, self._clock.monotonic() + PACE
            command = NoteAccess(uses, self._guesses)
            self._bench.propose(command, OWED_TIMEOUT, lambda result: self._done(command, result))

    def next_wakeup(self) -> float:
        """Monotonic moment of the next command; infinite when there is nothing to say."""
        nothing = not self._uses and not self._guesses
        if nothing or self._under_way or self._bench.consensus.leader is None:
            return NEVER
        return self._not_before

    def _done(self, command: NoteAccess, result: ProposalResult) -> None:
        self._under_way = False
        if isinstance(result, Committed):
            self._guesses = ()
            for use in command.uses:
                del self._uses[use]
