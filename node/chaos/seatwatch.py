"""Watches which nodes answer 200 on `/primary`: polls all of them, many times a second.

From outside, "never two PRIMARYs" can only be checked by the order of answers: each was given
between the sending of its request and its arrival. Epochs must follow that order, and one epoch has
one holder (`violations`). Used by the tests with real processes and `scripts/bench`.
"""

import asyncio
import contextlib
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec

PERIOD = 0.02
SHORTEST_GAP = 0.5
"""Seconds without a 200 that count as a gap; more than the delay of a busy machine."""
_ANSWER_SECONDS = 1.0
_MAX_BODY = 64 * 1024


class Answer(msgspec.Struct, frozen=True):
    """One node's 200 on `/primary`. `sent`, `received`: `time.monotonic()` seconds."""

    node: str
    epoch: int
    sent: float
    received: float


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a watch, in figures. Times in seconds; `terms`: Raft terms that passed."""

    seconds: float
    primary_changes: int
    without_primary: float
    longest_gap: float
    leader_changes: int
    terms: int
    two_primaries: int


class SeatWatch:
    """Polls `/primary` of every node on its own thread; a context manager.

    `nodes`: id → `host:port`. `answers` has only the 200s, in the order they were received; `polls`
    counts all answers, and `leaders` has the leader of every Raft term that an answer named.
    `began` and `ended`: `time.monotonic()` seconds. `caller`: the address to connect from, if that
    matters. `tls`, `tokens` (by node): for nodes that are asked over https, and by whom.
    """

    def __init__(
        self,
        nodes: Mapping[str, str],
        period: float = PERIOD,
        caller: str | None = None,
        tls: ssl.SSLContext | None = None,
        tokens: Mapping[str, str] | None = None,
    ) -> None:
        self._nodes = dict(nodes)
        self._tls = tls
        self._requests = {node: _request((tokens or {}).get(node)) for node in nodes}
        self._period = period
        self._source = None if caller is None else (caller, 0)
        self._news = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="seat-watch", daemon=True)
        self.answers: list[Answer] = []
        self.leaders: dict[int, str] = {}
        self.polls = 0
        self.began = self.ended = 0.0

    def __enter__(self) -> "SeatWatch":
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.ended = time.monotonic()

    def wait(self, wanted: Callable[[Answer], bool], timeout: float) -> Answer:
        """The first 200, past or future, for which `wanted` is true; raises TimeoutError."""
        seen = 0
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for answer in self.answers[seen:]:
                    if wanted(answer):
                        return answer
                seen = len(self.answers)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"no such PRIMARY within {timeout} s: {self.reigns()}")
                self._news.wait(left)

    def reigns(self) -> list[tuple[str, int, float, float]]:
        """(node, epoch, first answer, last answer) of each stretch of 200s, in order."""
        reigns: list[tuple[str, int, float, float]] = []
        for a in list(self.answers):
            if reigns and reigns[-1][:2] == (a.node, a.epoch):
                reigns[-1] = (*reigns[-1][:3], a.received)
            else:
                reigns.append((a.node, a.epoch, a.sent, a.received))
        return reigns

    def violations(self) -> list[str]:
        """Observations that contradict "at most one acts, in the order of epochs"."""
        answers = sorted(self.answers, key=lambda a: a.sent)
        return list(_shared_epochs(answers)) + list(_late_epochs(answers))

    def gaps(self) -> list[tuple[float, float]]:
        """Start and end of each time span without a 200; call after the end."""
        answers = sorted(self.answers, key=lambda a: a.received)
        ends = [self.began, *(a.received for a in answers)]
        begins = [*(a.sent for a in answers), self.ended]
        return [
            (end, begin)
            for end, begin in zip(ends, begins, strict=True)
            if begin - end > SHORTEST_GAP
        ]

    def tally(self) -> Tally:
        """The results; call after the end."""
        gaps = [end - begin for begin, end in self.gaps()]
        terms = self.leaders or {0: ""}
        return Tally(
            seconds=self.ended - self.began,
            primary_changes=max(0, len({(a.node, a.epoch) for a in self.answers}) - 1),
            without_primary=sum(gaps),
            longest_gap=max(gaps, default=0.0),
            leader_changes=len(terms) - 1,
            terms=max(terms) - min(terms),
            two_primaries=len(self.violations()),
        )

    def _run(self) -> None:
        asyncio.run(self._watch())

    async def _watch(self) -> None:
        async with asyncio.TaskGroup() as group:
            for node, address in self._nodes.items():
                group.create_task(self._poll(node, address))

    async def _poll(self, node: str, address: str) -> None:
        host, _, port = address.rpartition(":")
        while not self._stop.is_set():
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                reader, writer = await asyncio.open_connection(
                    host, int(port), local_addr=self._source, ssl=self._tls
                )
                try:
                    await self._converse(node, reader, writer)
                finally:
                    writer.transport.abort()  # TLS closes in several steps, and the loop ends
            await asyncio.sleep(self._period)

    async def _converse(
        self, node: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while not self._stop.is_set():
            sent = time.monotonic()
            writer.write(self._requests[node])
            async with asyncio.timeout(_ANSWER_SECONDS):
                status, body = await _read_response(reader)
            self._note(node, status, body, sent)
            await asyncio.sleep(max(0.0, sent + self._period - time.monotonic()))

    def _note(self, node: str, status: int, body: bytes, sent: float) -> None:
        seen = json.loads(body)
        with self._news:
            self.polls += 1
            if seen["leader"] is not None:
                self.leaders[seen["term"]] = seen["leader"]
            if status == 200:
                self.answers.append(Answer(node, seen["epoch"], sent, time.monotonic()))
                self._news.notify_all()


def _request(token: str | None) -> bytes:
    shown = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return f"GET /primary HTTP/1.1\r\nHost: load-balancer\r\n{shown}\r\n".encode()


async def _read_response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = min(int(value), _MAX_BODY)
    return int(head.split(b" ", 2)[1]), await reader.readexactly(length)


def _shared_epochs(answers: list[Answer]) -> Iterator[str]:
    holders: dict[int, str] = {}
    for a in answers:
        holder = holders.setdefault(a.epoch, a.node)
        if holder != a.node:
            yield f"{holder} and {a.node} both acted at epoch {a.epoch}"


def _late_epochs(answers: list[Answer]) -> Iterator[str]:
    """Answers with an older epoch to requests sent after a newer epoch's answer had arrived."""
    by_receipt = sorted(answers, key=lambda a: a.received)
    newest, received = 0, 0
    for a in answers:  # by the moment each was sent
        while received < len(by_receipt) and by_receipt[received].received < a.sent:
            newest = max(newest, by_receipt[received].epoch)
            received += 1
        if a.epoch < newest:
            yield f"{a.node} acted at epoch {a.epoch} after epoch {newest} had been seen"
