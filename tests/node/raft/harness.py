"""Several real `Raft` objects on a simulated network and clock, with real journals.

Deterministic: one seed decides delays, losses and election timeouts. A crash abandons the
journal's connection without writing; what was committed is what the next start finds.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack

from stationkeep.cluster.apply import Applied, Done
from stationkeep.cluster.state.codec import CodecError, TooNew
from stationkeep.node.ports import Host, ProposalResult
from stationkeep.node.raft import Guards, Journal, Raft, SnapshotStore, Timings
from stationkeep.node.raft.storage.snapshot_store import Submit

TIMINGS = Timings(
    heartbeat=0.1, election_min=0.5, election_max=1.0, step_down=1.0, compact_entries=5000
)


GOOD_VOTE = {"trusted": True, "lost": False, "birth": 1}


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> int:
        return int(self.now * 1000)


class Machine:
    """Keeps every draft; draft `key:value` is applied once per key, as S10 asks."""

    def __init__(self) -> None:
        self.log: list[tuple[int, bytes]] = []
        self.keys: dict[bytes, int] = {}
        self.offices = 0
        self.wanted: list[str] | None = None
        self.configuration: tuple[tuple[str, ...], tuple[str, ...]] | None = None

    def admits(self, draft: bytes) -> bool:
        return True

    def stamp(self, draft: bytes) -> bytes:
        return b"@" + draft

    def check(self, entry: bytes) -> None:
        if entry[:6] == b"@above":
            raise TooNew("the log", 9, 2)

    def took_office(self) -> None:
        self.offices += 1

    def members(self) -> list[str] | None:
        return self.wanted

    def configured(self, voters: tuple[str, ...], learners: tuple[str, ...]) -> bytes:
        return b"=" + msgpack.packb([voters, learners])

    def apply(self, entry: bytes, index: int) -> Applied:
        if entry[:1] == b"=":
            voters, learners = msgpack.unpackb(entry[1:])
            self.configuration = (tuple(voters), tuple(learners))
            return Applied(Done({}))
        if entry[:6] == b"@want ":
            self.wanted = entry[6:].decode().split()
            self.log.append((index, entry[1:]))
            return Applied(Done({}))
        assert entry[:1] == b"@"
        draft = entry[1:]
        key, colon, _ = draft.partition(b":")
        if colon and key in self.keys:
            return Applied(Done({"index": self.keys[key], "again": True}))
        self.keys[key] = index
        self.log.append((index, draft))
        return Applied(Done({"index": index}))

    def snapshot(self) -> bytes:
        return msgpack.packb([self.log, self.keys, self.wanted, self.configuration])

    def prepare(self, snapshot: bytes) -> Callable[[], None]:
        try:
            log, keys, *more = msgpack.unpackb(snapshot, strict_map_key=False)
        except ValueError as error:
            raise CodecError(str(error)) from error
        return lambda: self._restore(log, keys, more)

    def _restore(self, log: list[Any], keys: dict[bytes, int], more: list[Any]) -> None:
        self.log = [(i, d) for i, d in log]
        self.keys = keys
        self.wanted, configuration = more or (None, None)
        self.configuration = configuration and (tuple(configuration[0]), tuple(configuration[1]))


class Wire:
    """One node's `Network`."""

    def __init__(self, cluster: "Cluster", node: str) -> None:
        self.cluster, self.node = cluster, node

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        # S5, at every message of every test: nothing leaves before the disk has it.
        assert message["kind"] != "raft" or not self.cluster.journals[self.node].dirty
        return self.cluster.post(self.node, peer, message)

    def connected(self, peer: str) -> bool:
        return self.cluster.linked(self.node, peer)

    def comfortable(self, peer: str) -> int:
        return self.cluster.comfortable

    def subscribe(self, *_: Any) -> None: ...


class Cluster:
    """N members; `run` advances virtual time."""

    def __init__(
        self,
        path: Path,
        size: int = 3,
        *,
        seed: int = 1,
        timings: Timings = TIMINGS,
        delay: tuple[float, float] = (0.001, 0.003),
        durability: str = "os",
        guards: Guards = Guards(),  # noqa: B008 - frozen
        submit: Submit | None = None,
    ) -> None:
        """`submit`: the thread on which members write and read snapshots; None: at once."""
        self.guards = guards
        self.submit = submit
        self.path, self.timings, self.delay = path, timings, delay
        self.durability = durability
        self.random = random.Random(seed)
        self.clock = FakeClock()
        self.names = [f"n{i}" for i in range(1, size + 1)]
        self.founders = list(self.names)
        self.rafts: dict[str, Raft] = {}
        self.machines: dict[str, Machine] = {}
        self.journals: dict[str, Journal] = {}
        self.cut: set[tuple[str, str]] = set()
        self.ordered = True
        """Whether a message never overtakes another, as on a stream."""
        self.comfortable = 1 << 23
        self.drop: Callable[[str, str, dict[str, Any]], bool] = lambda *_: False
        self.duplicate: Callable[[str, str, dict[str, Any]], bool] = lambda *_: False
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self._order = itertools.count()
        self._flights: list[tuple[float, int, str, str, bytes, int]] = []
        self._last: dict[tuple[str, str], float] = {}
        self._epoch: dict[tuple[str, str], int] = {}
        for name in self.names:
            self.start(name)

    # -- members

    def start(self, name: str, **changes: Any) -> Raft:
        if name not in self.names:
            self.names.append(name)
        machine, data = Machine(), self.path / name
        journal = Journal(data, cluster="c", node=name, durability=self.durability)
        self.journals[name] = journal
        store = SnapshotStore(data, cluster="c", encode_state=machine.snapshot, submit=self.submit)
        raft = Raft(
            node_id=name,
            members=changes.get("members", self.founders),
            joining=name not in self.founders,
            host=Host(self.clock, Wire(self, name), draw=self.random.random),
            machine=machine,
            journal=journal,
            snapshots=store,
            timings=changes.get("timings", self.timings),
            guards=self.guards,
        )
        self.rafts[name], self.machines[name] = raft, machine
        for peer in self.rafts:
            if peer != name and self.linked(name, peer):
                raft.connected(peer)
                self.rafts[peer].connected(name)
        return raft

    def crash(self, name: str) -> None:
        raft = self.rafts.pop(name)
        raft._snapshots.close()
        self.journals.pop(name).abandon()
        for peer, other in self.rafts.items():
            self._break(name, peer)
            other.disconnected(name)

    def erase(self, name: str) -> None:
        """Down, with an empty disk; nobody runs `node rejoin`."""
        if name in self.rafts:
            self.crash(name)
        for file in (self.path / name).iterdir():
            file.unlink()

    def close(self) -> None:
        for raft in self.rafts.values():
            raft.close()

    # -- network

    def linked(self, a: str, b: str) -> bool:
        return a in self.rafts and b in self.rafts and (a, b) not in self.cut

    def partition(self, *isolated: str) -> None:
        """Breaks every connection between these and the others."""
        for a in isolated:
            for b in self.names:
                if b not in isolated and (a, b) not in self.cut:
                    self.cut |= {(a, b), (b, a)}
                    self._break(a, b)
                    for one, two in ((a, b), (b, a)):
                        if one in self.rafts:
                            self.rafts[one].disconnected(two)

    def heal(self) -> None:
        cut, self.cut = self.cut, set()
        for a, b in sorted(cut):
            if self.linked(a, b):
                self.rafts[a].connected(b)

    def _break(self, a: str, b: str) -> None:
        for pair in ((a, b), (b, a)):
            self._epoch[pair] = self._epoch.get(pair, 0) + 1

    def post(self, sender: str, peer: str, message: dict[str, Any]) -> bool:
        if not self.linked(sender, peer):
            return False
        data = msgpack.packb(message)
        copy = msgpack.unpackb(data, use_list=False)
        self.seen.append((sender, peer, copy))
        if self.drop(sender, peer, copy):
            return True
        copies = 2 if self.duplicate(sender, peer, copy) else 1
        pair = (sender, peer)
        for _ in range(copies):
            due = self.clock.now + self.random.uniform(*self.delay)
            if self.ordered:
                due = self._last[pair] = max(due, self._last.get(pair, 0.0))
            epoch = self._epoch.get(pair, 0)
            heapq.heappush(self._flights, (due, next(self._order), sender, peer, data, epoch))
        return True

    def deliver(self, sender: str, peer: str, message: dict[str, Any]) -> None:
        """Puts a message into a member's inbox by hand."""
        self.rafts[peer].receive(sender, {"kind": "raft", **message})
        self.rafts[peer].turn()

    def sent(self, sender: str, type_: str) -> list[dict[str, Any]]:
        """Raft messages of a type that a member has sent so far."""
        return [m for s, _, m in self.seen if s == sender and m.get("type") == type_]

    # -- time

    def step(self) -> None:
        """To the next moment at which anything happens, and through it."""
        due = min(raft.next_wakeup() for raft in self.rafts.values())
        if self._flights:
            due = min(due, self._flights[0][0])
        self.clock.now = max(self.clock.now, due)
        while self._flights and self._flights[0][0] <= self.clock.now:
            _, _, sender, peer, data, epoch = heapq.heappop(self._flights)
            if self.linked(sender, peer) and self._epoch.get((sender, peer), 0) == epoch:
                self.rafts[peer].receive(sender, msgpack.unpackb(data, use_list=False))
        for name in list(self.rafts):
            raft = self.rafts.get(name)
            if raft is not None and (raft._inbox or raft.next_wakeup() <= self.clock.now):
                raft.turn()
        self.check()

    def run(self, seconds: float) -> None:
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.step()

    def run_until(self, condition: Callable[[], bool], seconds: float = 30.0) -> None:
        end = self.clock.now + seconds
        while not condition():
            assert self.clock.now < end, f"not within {seconds} s: {self.describe()}"
            self.step()

    # -- looking

    def check(self) -> None:
        """State machine safety and election safety, at every step."""
        logs = [machine.log for machine in self.machines.values()]
        longest = max(logs, key=len)
        for one in logs:
            assert one == longest[: len(one)], "two nodes applied different commands"
        leaders = [r.term for r in self.rafts.values() if r._engine._isLeader()]
        assert len(leaders) == len(set(leaders)), "two leaders in one term"

    def describe(self) -> str:
        return "; ".join(
            f"{n}: term {r.term} leader {r.leader} last {r._engine.last_index()} "
            f"commit {r.commit_index} applied {r.applied_index}"
            for n, r in self.rafts.items()
        )

    def leader(self) -> str | None:
        leading = [n for n, r in self.rafts.items() if r.is_leader]
        return max(leading, key=lambda n: self.rafts[n].term) if leading else None

    def elect(self) -> str:
        self.run_until(lambda: self.leader() is not None)
        leader = self.leader()
        assert leader is not None
        return leader

    def followers(self) -> list[str]:
        return [n for n in self.rafts if n != self.leader()]

    def propose(self, node: str, draft: bytes, **more: Any) -> list[ProposalResult]:
        results: list[ProposalResult] = []
        self.rafts[node].propose(
            draft, results.append, more.get("timeout", 10.0), retry=more.get("retry", False)
        )
        return results

    def write(self, node: str, *drafts: bytes) -> None:
        """Proposes and waits until all of them are applied at `node`."""
        results = [self.propose(node, draft, retry=True) for draft in drafts]
        self.run_until(lambda: all(results))

    def converge(self, seconds: float = 30.0) -> None:
        """Waits until every member has applied the same, to the end of the leader's log."""

        def same() -> bool:
            leader = self.leader()
            if leader is None:
                return False
            last = self.rafts[leader]._engine.last_index()
            return all(r.applied_index == last and r.leader == leader for r in self.rafts.values())

        self.run_until(same, seconds)
        logs = [m.log for n, m in self.machines.items() if n in self.rafts]
        assert all(log == logs[0] for log in logs)
