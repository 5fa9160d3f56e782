"""Clients of a simulated cluster: keyed commands, retried as clients do, and their history.

The registers are the members' priorities: a write is `SetPriority` with a unique value; a read is
a barrier and then the state of the node that was asked, as with `?consistency=strong`.
"""

from stationkeep.cluster.apply import Done
from stationkeep.cluster.commands import (
    AddMember,
    AnyCommand,
    Barrier,
    ChangeSettings,
    Draft,
    MemberSpec,
    MoveMember,
    RaiseLevel,
    RemoveMember,
    RevokeCertificate,
    RunAction,
    SetMaintenance,
    SetPriority,
    Switchover,
)
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import DEFAULT_PRIORITY
from stationkeep.node.checking.linearizability import Operation, Undecided, is_linearizable
from stationkeep.node.ports import Committed, ProposalResult
from stationkeep.node.simulation.agenda import At, Time
from stationkeep.node.simulation.checks.checks import Checks, Violation
from stationkeep.node.simulation.machine.node import SimulatedNode

ACTOR = "client"
TIMEOUT = 5.0
PAUSE = 0.5
PATIENCE = 30.0
"""Seconds: for one try, between two, and for all tries together."""
LEVEL_ORDERS: dict[str, AnyCommand] = {
    "raise": RaiseLevel(HIGHEST, "newest"),
    "hold": ChangeSettings({"level_hold": LOWEST}),
    "free": ChangeSettings({"level_hold": 0}),
}
"""Orders about the level, by their word."""


class Clients:
    """All clients of one world; each call is a client of its own."""

    def __init__(
        self, time: Time, at: At, members: dict[str, SimulatedNode], checks: Checks, keyed: bool
    ) -> None:
        """`keyed`: S10 is on; off, a retry is a new command."""
        self._time, self._at = time, at
        self._members, self._checks, self._keyed = members, checks, keyed
        self.history: list[Operation] = []
        self.orders: dict[int, str] = {}
        self.acknowledged: dict[str, int] = {}
        """Operation → index that its client was given."""
        self.calls = self.given_up = self._answered = 0

    def write(self, node: str, register: str, value: int) -> None:
        """Sets a register through a node, until it is acknowledged or patience ends."""
        operation = self._begin(register, value, write=True)
        command = SetPriority(register, value)
        self._try(operation, command, node, self._time.now + PATIENCE)

    def read(self, node: str, register: str) -> None:
        """Reads a register at a node, behind a barrier."""
        operation = self._begin(register, None, write=False)
        self._try(operation, Barrier(), node, self._time.now + PATIENCE)

    def order(self, node: str, what: str) -> None:
        """Gives one of a few operator's orders, through a node."""
        command: AnyCommand = Switchover()
        if what == "maintenance":
            command = SetMaintenance(node, 4_000)
        elif what == "action":
            command = RunAction("refocus")
        self.give(node, command)

    def give(self, node: str, command: AnyCommand, actor: str = ACTOR) -> None:
        """Gives an operator's order through a node; it takes effect at most once."""
        self.calls += 1
        operation = Operation(self.calls, "", True, None, self._time.now)
        self._try(operation, command, node, self._time.now + PATIENCE, actor)

    def join(self, node: str, name: str) -> None:
        """Asks for a machine to be added where it is, through a node."""
        own = self._members[name].config.own
        assert own is not None
        self.give(node, AddMember(own))

    def move(self, node: str, name: str) -> None:
        """Says, through a node, that a member is elsewhere now."""
        port = 12_000 + 100 * (self.calls % 80) + int(name.rpartition("-")[2])
        spec = MemberSpec(name, f"127.0.0.1:{port}", f"127.0.0.1:{port + 10_000}")
        self.give(node, MoveMember(spec))

    def revoke(self, node: str, serial: str) -> None:
        """Orders, through a node, that nobody accepts a certificate any more."""
        self.give(node, RevokeCertificate(serial))

    def level(self, node: str, what: str) -> None:
        """Orders the level raised, held at the lowest, or let go, through a node."""
        self.give(node, LEVEL_ORDERS[what])

    def leave(self, node: str, name: str) -> Operation:
        """Asks for a member to be removed, through a node; its register returns to the default."""
        operation = self._begin(name, DEFAULT_PRIORITY, write=True)
        self._try(operation, RemoveMember(name), node, self._time.now + PATIENCE)
        return operation

    def _begin(self, register: str, value: int | None, write: bool) -> Operation:
        self.calls += 1
        operation = Operation(self.calls, register, write, value, self._time.now)
        self.history.append(operation)
        return operation

    def _try(
        self,
        operation: Operation,
        command: AnyCommand,
        node: str,
        until: float,
        actor: str = ACTOR,
    ) -> None:
        """One try at one node; the next goes to the next node."""
        now = self._time.now
        if now >= until:
            self.given_up += 1
            return
        member = self._members[node]
        names = sorted(self._members)
        after = names[(names.index(node) + 1) % len(names)]
        if not member.runs:
            self._at(now + PAUSE, self._try, operation, command, after, until, actor)
            return
        life, tries = member.life, [False]

        def answered(result: ProposalResult) -> None:
            if tries[0] or operation.returned <= self._time.now:
                return
            tries[0] = True
            if isinstance(result, Committed):
                self._returned(operation, member, result)
            else:
                again = operation, command, after, until, actor
                self._at(self._time.now + PAUSE, self._try, *again)

        def hung_up() -> None:
            """The node crashed, or was stopped, with the call on it."""
            if not tries[0] and (member.life != life or not member.runs):
                tries[0] = True
                self._try(operation, command, after, until, actor)

        name = f"op-{operation.number}" if operation.write else ""
        draft = codec.encode_draft(Draft(command, name if self._keyed else "", actor, name))
        member.raft.propose(draft, answered, TIMEOUT, retry=self._keyed and bool(name))
        self._at(now + TIMEOUT + PAUSE, hung_up)

    def _returned(self, operation: Operation, member: SimulatedNode, result: Committed) -> None:
        self._answered += 1
        if not isinstance(result.applied.outcome, Done):
            if operation in self.history:  # refused: it has no effect and says nothing
                self.history.remove(operation)
            operation.returned = self._time.now
            return
        operation.returned = self._time.now
        if operation.write:
            self.acknowledged[f"op-{operation.number}"] = result.index
        else:
            found = member.replica.state.members.get(operation.register)
            operation.value = DEFAULT_PRIORITY if found is None else found.priority

    @property
    def waits(self) -> bool:
        """Whether anybody still waits for an answer: what was ordered may come about yet."""
        return self.calls > self._answered + self.given_up

    # -- judging -------------------------------------------------------------------------------

    def judge(self) -> int:
        """Raises `Violation` for what clients must not see; returns the number of registers whose
        history was too concurrent to decide."""
        for name in self.acknowledged:
            if name not in self._checks.effects:
                raise Violation("nothing acknowledged is lost", f"{name} has left no trace")
        undecided = 0
        for register in sorted(self._members):
            operations = [op for op in self.history if op.register == register]
            try:
                if not is_linearizable(operations, DEFAULT_PRIORITY):
                    raise Violation("linearizable", f"the history of {register} is not")
            except Undecided:
                undecided += 1
        return undecided
