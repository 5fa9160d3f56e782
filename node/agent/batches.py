"""Devices without a connection of their own: registered and reported in batches over HTTP.

As a gateway would that collects the readings of many small devices. It hears of a ring in the
answer to the next batch.
"""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Annotated, Any

import httpx
import msgspec
from msgspec.structs import replace

from stationkeep.cluster.unreadable import UNREADABLE
from stationkeep.node.agent.addresses import Addresses
from stationkeep.node.agent.channel import CODEC
from stationkeep.node.agent.device import Identity, Owner, Ringed, device_status, first_session
from stationkeep.node.agent.patience import LONGEST_PATIENCE, patience, sensible
from stationkeep.node.agent.tally import Tally
from stationkeep.node.agent.turned_away import STATUSES, TurnedAway, away_pause, turned_away_by
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.http_body import read
from stationkeep.node.wire.messages import Code

MAX_BATCH = 1_024
"""Devices that share a batch: well below what a node takes (4,096 statuses, 1 MiB)."""
MAX_ANSWER = 4 << 20
"""Bytes of an answer; one about 1,024 devices has some 400 KB."""
ANSWER_SECONDS = 15.0
"""For one node to answer, over however many connections. It gives a registration 10 s to get
through the log, and then says so."""
STALE = 2
"""Statuses in a row that are old in their own session."""
REGISTER, REPORT = "/v1/devices:register", "/v1/devices:report"
HEADERS = {
    "Content-Type": CODEC.media_type,
    "Accept": CODEC.media_type,
    "Accept-Encoding": "identity",
}


def open_http(credentials: Credentials) -> httpx.AsyncClient:
    """Connections of one batch, through no proxy; tests put their own here."""
    direct = httpx.AsyncHTTPTransport(verify=credentials.verification())
    return httpx.AsyncClient(
        headers=HEADERS, timeout=ANSWER_SECONDS, transport=direct, auth=credentials.show
    )


class TurnedAwayError(Exception):
    """The node will not speak with whoever shows this."""

    def __init__(self, away: TurnedAway) -> None:
        super().__init__(away.line)
        self.away = away


class Assigned(msgspec.Struct, frozen=True):
    """A device's ring, as the answer to a batch says it."""

    slave_id: str
    ring: str
    reason: str
    timestamp: str
    status_interval: float


class Refusal(msgspec.Struct, frozen=True):
    """Of what stands at `index` in the batch; beyond its end no answer of ours would point."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    code: Code
    session: int | None = None


class Answer(msgspec.Struct, frozen=True):
    """What became of a batch; fields that are not needed here are left out. `repeated`: it was
    sent more than once (which the agent knows, not the node)."""

    accepted: int
    refused: int
    errors: Sequence[Refusal]
    assignments: Sequence[Assigned]
    repeated: bool = False


class Member:
    """One device of a batch. `known`: whether the cluster knows it, as far as this side does;
    `settled`: whether it ever did."""

    __slots__ = ("identity", "known", "owner", "ring", "session", "settled", "stale")

    def __init__(self, identity: Identity, owner: Owner) -> None:
        self.identity, self.owner = identity, owner
        self.ring: str | None = None
        self.known = self.settled = False
        self.stale = 0
        self.session = first_session(time.time_ns() // 1_000_000_000)

    def registered(self) -> None:
        self.known = self.settled = True

    def overtaken(self, session: int | None) -> None:
        """A newer session is known. On the first registration that is the one before a clock was
        reset (see `node.agent.link`); later it is another agent, who is left in peace."""
        if not self.settled and session is not None and session < wire.MAX_ORDINAL:
            self.session = session + 1

    def answered(self, refusal: "Refusal | None", *, repeated: bool) -> None:
        """What became of a status. One whose batch was sent twice is old the second time, which
        says nothing. Two others in a row, though the session is the newest, were overtaken by
        somebody who spoke in this device's name: nobody would hear it again but in another
        session."""
        if refusal is None or refusal.code is not Code.OUTDATED:
            self.stale = 0
        elif not repeated:
            self.stale += 1
        if refusal is not None and refusal.code is Code.UNKNOWN:
            self.known = False
        elif self.stale >= STALE and refusal is not None and refusal.session == self.session:
            self._begin_another()

    def _begin_another(self) -> None:
        """Registers anew, unless there is no session left: one that is out of range would cost the
        whole batch its answer."""
        if self.session < wire.MAX_ORDINAL:
            self.session, self.known, self.stale = self.session + 1, False, 0

    def status(self) -> wire.DeviceStatus:
        return device_status(self.identity, self.ring, self.owner.read())

    def told(self, news: Assigned) -> bool:
        """Whether the ring is another than was known."""
        previous, self.ring = self.ring, news.ring
        if news.ring == previous:
            return False
        self.owner.ringed(Ringed(news.ring, previous, news.reason, news.timestamp))
        return True


class Batch:
    """So many devices that speak together; `run` goes on until it is cancelled."""

    def __init__(self, members: Sequence[Member], addresses: Addresses, tally: Tally) -> None:
        assert len(members) <= MAX_BATCH
        self._members = {member.identity.device_id: member for member in members}
        self._addresses, self._tally = addresses, tally
        self._sequence = time.time_ns() % 1_000_000_000 // 1_000
        self._interval = 1.0
        self._connected = self._failures = self._times_away = 0

    async def run(self) -> None:
        """Speaks to one node for as long as that goes well, then to another; ends when the token
        was revoked, or when nobody is heard without one."""
        credentials = self._addresses.credentials
        async with open_http(credentials) as http:
            while True:
                url, shown = self._addresses.pick(), credentials.token
                try:
                    await self._speak(http, url)
                except (httpx.HTTPError, *UNREADABLE) as error:
                    self._failed(url, error)
                except TurnedAwayError as error:
                    self._failed(url, error)
                    if not credentials.renewed(shown) and self._is_over(error.away):
                        return
                pause = away_pause(self._times_away) + self._addresses.pause(self._failures)
                await asyncio.sleep(pause)
                self._failures += 1

    async def _speak(self, http: httpx.AsyncClient, url: str) -> None:
        """Goes on until it raises."""
        await self._register(http, url)
        self._failures = self._times_away = 0
        while True:
            await self._report(http, url)
            await asyncio.sleep(self._interval * random.uniform(0.9, 1.1))  # noqa: S311
            await self._register(http, url)

    def _is_over(self, away: TurnedAway) -> bool:
        """As a link sees it: see `node.agent.link`."""
        self._times_away += 1
        settled = any(member.settled for member in self._members.values())
        over = away.is_over or not (self._addresses.credentials.token or settled)
        if over:
            for member in self._members.values():
                member.owner.ended(away.line, unauthorised=True)
        return over

    async def _register(self, http: httpx.AsyncClient, url: str) -> None:
        """Whoever is not known."""
        for strangers in _parts([m for m in self._members.values() if not m.known]):
            word = self._word()
            registrations = [
                wire.BatchedRegistration(
                    m.status(), m.identity.capabilities, m.identity.labels, m.session, word
                )
                for m in strangers
            ]
            body = {"registrations": registrations}
            answer = await self._post(http, f"{url}{REGISTER}", body, LONGEST_PATIENCE)
            self._tally.registrations += answer.accepted
            for assigned in answer.assignments:
                if assigned.slave_id in self._members:
                    self._members[assigned.slave_id].registered()
            for refusal in answer.errors:
                if refusal.code is Code.OUTDATED and refusal.index < len(strangers):
                    strangers[refusal.index].overtaken(refusal.session)
        self._count()

    async def _report(self, http: httpx.AsyncClient, url: str) -> None:
        """Whoever is known."""
        word = self._word()
        reported = [member for member in self._members.values() if member.known]
        if not reported:
            return
        statuses = [wire.StatusPayload(m.status(), m.session, word) for m in reported]
        body = {"statuses": statuses}
        answer = await self._post(http, f"{url}{REPORT}", body, patience(self._interval))
        self._tally.statuses += answer.accepted
        refused = {r.index: r for r in answer.errors if r.index < len(reported)}
        for index, member in enumerate(reported):
            member.answered(refused.get(index), repeated=answer.repeated)
        self._count()

    async def _post(
        self, http: httpx.AsyncClient, url: str, body: dict[str, Any], due: float
    ) -> Answer:
        """An answer is due in so many seconds."""
        said, repeated = await _answered(http, url, CODEC.encode(body), due)
        answer = replace(msgspec.msgpack.decode(said, type=Answer), repeated=repeated)
        for refusal in answer.errors:
            self._tally.errors[refusal.code] += 1
        for assigned in answer.assignments:
            self._interval = sensible(assigned.status_interval)
            member = self._members.get(assigned.slave_id)
            if member is not None:
                self._tally.rings += member.told(assigned)
        return answer

    def _failed(self, url: str, error: Exception) -> None:
        self._addresses.failed(url)
        count = self._connected or len(self._members)
        self._tally.ended(_text(error), count, registered=self._connected > 0)
        self._tally.connected -= self._connected
        self._connected = 0

    def _count(self) -> None:
        known = sum(member.known for member in self._members.values())
        self._tally.connected += known - self._connected
        self._connected = known

    def _word(self) -> int:
        self._sequence += 1
        return self._sequence


async def _answered(
    http: httpx.AsyncClient, url: str, content: bytes, due: float
) -> tuple[bytes, bool]:
    """The answer, and whether the request was made more than once: one that is overdue is dropped
    with its connection, whose stream may stand still, and is made again on a fresh one, each time
    with twice the patience. What a node takes twice by that is outdated the second time."""
    left, repeated = ANSWER_SECONDS, False
    while left > 0:
        due = min(due, left)
        with suppress(TimeoutError):
            async with asyncio.timeout(due), http.stream("POST", url, content=content) as response:
                if response.status_code in STATUSES:
                    body = await read(response, MAX_ANSWER)
                    raise TurnedAwayError(turned_away_by(response.status_code, body))
                response.raise_for_status()
                return await read(response, MAX_ANSWER), repeated
        left, due, repeated = left - due, due * 2, True
    raise httpx.ReadTimeout("no answer")


def _parts(members: list[Member]) -> Iterator[list[Member]]:
    """As many as one registration takes at a time."""
    for first in range(0, len(members), wire.MAX_REGISTRATIONS):
        yield members[first : first + wire.MAX_REGISTRATIONS]


def _text(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the node answered {error.response.status_code}"
    if isinstance(error, TurnedAwayError):
        return f"the node answered {error.away.status}"
    return f"nobody there: {type(error).__name__}"
