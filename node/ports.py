"""The seams of a node: interfaces that have a second, simulated implementation.

Everything above them (`loop.py` and what it calls) is synchronous, single-threaded and knows
neither sockets nor clocks, so that the same code runs in a process and in virtual time.
"""

import enum
import random
from collections.abc import Callable, Collection
from typing import Any, Literal, Protocol

import msgspec

from stationkeep.cluster.apply import Applied
from stationkeep.cluster.commands import AnyCommand, Draft
from stationkeep.cluster.state.codec import Piece


class Clock(Protocol):
    """Time as one node sees it."""

    def monotonic(self) -> float:
        """Seconds, never going back, also counting while the machine is suspended."""
        ...

    def wall(self) -> int:
        """Unix milliseconds; for display only."""
        ...


class Memory(Protocol):
    """Where a few bytes are kept across a restart: a small file, or a simulated one."""

    def load(self) -> bytes | None:
        """What was saved last; None where nothing was."""
        ...

    def save(self, content: bytes) -> None:
        """Durable and atomic."""
        ...


class Obstacle(enum.StrEnum):
    """Why a member that was dialled is not reached. Source: guide/alarms.md, "The
    network between the nodes"."""

    NO_SUCH_HOST = "no_such_host"
    """Its name does not resolve, or not in time."""
    TIMEOUT = "timeout"
    CONNECTION_REFUSED = "connection_refused"
    UNREACHABLE = "unreachable"
    """The system knows no way."""
    NOT_SECURED = "not_secured"
    """It is beyond this machine, and there are no certificates."""
    # Somebody is there from here on. First what becomes of TLS:
    UNTRUSTED_CA = "untrusted_ca"
    NOT_A_NODE = "not_a_node"
    REVOKED = "revoked"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CLOCK = "clock"
    PLAIN_TEXT = "plain_text"
    TLS = "tls"
    OLD_TLS = "old_tls"
    OTHER_PROTOCOL = "other_protocol"
    HANDSHAKE_TIMEOUT = "handshake_timeout"
    HANDSHAKE_FAILED = "handshake_failed"
    # By certificate or hello:
    WRONG_CLUSTER = "wrong_cluster"
    WRONG_NODE = "wrong_node"
    NOT_MEMBER = "not_member"
    # By hello:
    VERSION = "version"
    FOUNDERS_DIFFER = "founders_differ"
    REMOVED = "removed"
    """It says that this node was removed."""
    NO_HELLO = "no_hello"
    HELLO_TIMEOUT = "hello_timeout"
    REFUSED_BY_PEER = "refused_by_peer"
    """It closed the connection; its log has the reason."""
    BROKEN_OFF = "broken_off"


NOT_THERE = frozenset(
    {
        Obstacle.NO_SUCH_HOST, Obstacle.TIMEOUT, Obstacle.CONNECTION_REFUSED, Obstacle.UNREACHABLE,
        Obstacle.HANDSHAKE_TIMEOUT, Obstacle.HELLO_TIMEOUT, Obstacle.BROKEN_OFF,
    }
)  # fmt: skip
"""With these nobody has refused anybody: dialling goes on and may succeed."""


class Machine(msgspec.Struct, frozen=True):
    """What is under a node: bytes of the disk that has its data (None: it cannot be asked), of its
    process's memory, and for how many seconds it has run."""

    up_s: float
    data_dir: str
    disk_total: int | None
    disk_free: int | None
    memory: int


class Moment(msgspec.Struct, frozen=True, gc=False):
    """Devices in each ring, in the order of `RINGS`, at a time; how many of all were unhealthy, or
    offline."""

    at: int
    wall: int
    rings: tuple[int, ...]
    unhealthy: int
    offline: int


class LinkFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One link as its receiving end sees it. `address`: where the cluster has the peer; `error`:
    the `Obstacle` that was met there, None if none was; `since_s`: for so many seconds the link has
    been up, or has not been.

    `sent`, `heard`: datagrams of the peer, numbered by
    it and arrived here, within the last `window_s`; `longest_silence_s`: without one, in the
    same time. Totals are since this node started."""

    peer: str
    connected: bool
    streams: int
    stalled: bool
    in_doubt: bool
    window_s: float
    sent: int
    heard: int
    longest_silence_s: float
    received_total: int
    lost_total: int
    duplicates_total: int
    refused_total: dict[str, int]
    address: str = ""
    error: str | None = None
    since_s: float = 0.0

    @property
    def state(self) -> Literal["up", "dialling", "refused"]:
        """`refused`: somebody is there, and one of the two will not have the other."""
        if self.connected:
            return "up"
        return "dialling" if self.error is None or self.error in NOT_THERE else "refused"

    @property
    def loss(self) -> float | None:
        """Share of the peer's datagrams that did not arrive lately, 0 to 1.

        None when it is not known: nothing came that would say how many there were. A peer to
        which there is a way sends one every second, so then all are lost.
        """
        if self.sent:
            return 1 - self.heard / self.sent
        return 1.0 if self.connected else None


class Network(Protocol):
    """Best-effort, bounded messages to the other members. Each arrives at most once, possibly
    late, and not always in order.

    A message is a dict of msgpack types whose `"kind"` says whose it is: `"raft"`, `"gossip"`,
    `"propose"` or `"proposed"`.
    """

    def send(self, peer: str, message: dict[str, Any]) -> bool:
        """Sends a message; False when there is no way to the peer, or no room on it."""
        ...

    def connected(self, peer: str) -> bool:
        """Whether there is a way to `peer`."""
        ...

    def comfortable(self, peer: str) -> int:
        """Bytes that a message to `peer` should not exceed now. Few while packets are lost:
        what fits no datagram then waits for a stream that may stand still."""
        ...

    def subscribe(
        self,
        on_message: Callable[[str, dict[str, Any]], None],
        on_connected: Callable[[str], None],
        on_disconnected: Callable[[str], None],
    ) -> None:
        """Sets the callbacks; called from the loop, never from within `send`. `on_connected` is
        also told of a way that there was before, when what is on it may be lost or late."""
        ...


class Host(msgspec.Struct, frozen=True):
    """The machine that a node runs on, real or simulated.

    `wake`: there is work before the moment that `next_wakeup` named. `submit`: runs work that
    takes long, once, where it does not hold up the loop. `draw`: chance, in [0, 1).
    """

    clock: Clock
    network: Network
    wake: Callable[[], None] = lambda: None
    submit: Callable[[Callable[[], None]], object] = lambda work: work()
    draw: Callable[[], float] = random.random


class StateMachine(Protocol):
    """What Raft replicates; implemented by `node.replica.Replica`."""

    def admits(self, draft: bytes) -> bool:
        """Whether a draft may enter the log, as the leader judges: its level is one that every
        member has. Else those that have it not would stop."""
        ...

    def stamp(self, draft: bytes) -> bytes:
        """The log entry for a draft, as the leader appends it."""
        ...

    def check(self, entry: bytes) -> None:
        """Raises `TooNew` for an entry of a level that this release has not, before it is taken
        into the log: going on without it would be divergence."""
        ...

    def took_office(self) -> None:
        """This node leads and has applied everything before its term: cluster time goes on."""
        ...

    def apply(self, entry: bytes, index: int) -> Applied:
        """Applies a committed entry. Total: never raises for any bytes."""
        ...

    def members(self) -> Collection[str] | None:
        """Ids of those who shall belong to the cluster; None when the state does not say yet.
        The leader changes Raft's configuration until it is that."""
        ...

    def configured(self, voters: tuple[str, ...], learners: tuple[str, ...]) -> bytes:
        """The log entry that tells the state of Raft's new configuration; it is the body of the
        configuration's own entry, so that the two cannot come apart."""
        ...

    def prepare(self, snapshot: Piece) -> Callable[[], None]:
        """Reads a state, on any thread, and changes nothing; the function returned puts it in
        place of the present one. Raises `CodecError` when it cannot be read, of these `TooNew` when
        this release has not its level."""
        ...


class Committed(msgspec.Struct, frozen=True):
    """The draft is in the log at `index` and applied here."""

    index: int
    applied: Applied


class NotProposed(msgspec.Struct, frozen=True):
    """The draft has certainly not entered the log: `no_leader`, `queue_full`, `too_large`, or
    `level`, when it needs one that the cluster is not at."""

    why: str


class OutcomeUnknown(msgspec.Struct, frozen=True):
    """The deadline passed, or the leader was lost: it may or may not be applied later."""

    why: str


ProposalResult = Committed | NotProposed | OutcomeUnknown

Done = Callable[[ProposalResult], None]
"""Waits for the outcome of a proposal."""

Propose = Callable[[AnyCommand, float, Done], None]
"""Proposes a command; `Done` gets its outcome within so many seconds."""

Watch = Callable[[Draft, Done], Done]
"""Sees a draft as it is proposed, and who waits for its outcome; returns what to call in place of
that (`node.tracing`)."""


class Consensus(Protocol):
    """The replicated log as the rest of the node sees it; implemented by `node.raft.Raft`."""

    @property
    def is_leader(self) -> bool:
        """Leads, and has applied every entry of earlier terms (so it may read, stamp, plan)."""
        ...

    @property
    def leader(self) -> str | None: ...

    @property
    def term(self) -> int: ...

    @property
    def commit_index(self) -> int: ...

    @property
    def applied_index(self) -> int: ...

    @property
    def journal_error(self) -> str | None:
        """Why this node cannot write its log (it then takes no part in Raft); None when it can."""
        ...

    @property
    def is_removed(self) -> bool:
        """This node knows that it was removed from the cluster: nothing more comes into its log."""
        ...

    @property
    def has_quorum(self) -> bool:
        """A majority of members (self included) is connected."""
        ...

    def propose(
        self,
        draft: bytes,
        done: Callable[[ProposalResult], None],
        timeout: float,
        retry: bool = False,
    ) -> None:
        """Proposes from any node; forwards to the leader. Calls `done` exactly once, within
        `timeout` seconds, from `turn`; with `Committed` only after the entry was applied here.
        `retry`: the draft carries a key, so that proposing it again when a leader is lost on
        the way applies it once."""
        ...

    def turn(self) -> None:
        """One turn: messages taken in → tick → journal commit → send → apply → acknowledge."""
        ...

    def next_wakeup(self) -> float:
        """Monotonic time at which `turn` is due without any message."""
        ...

    def transfer_leadership(self) -> bool:
        """Hands over to the most caught-up follower; False when there is none yet."""
        ...
