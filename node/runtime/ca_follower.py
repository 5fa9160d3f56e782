"""Has a node take part when another CA takes the place of the first (`cluster.ca_rotation`).

At each look the node's files are made what the replicated state says, and the node owes the log a
word of how far it is by what it has read of them. The key of the second CA is on one machine at
first: who issues and lacks it asks the other members, over links on which each has proved who it
is. It is never in the log, nor in anything that is written but the files of keys.
"""

from datetime import UTC, datetime
from typing import Any

import structlog

from stationkeep.cluster.commands import FollowCa
from stationkeep.cluster.state.state import CaRotation, CaStep
from stationkeep.node.duty import Owed, Workbench
from stationkeep.node.ports import Network
from stationkeep.node.security.certificates import CertificateError
from stationkeep.node.security.renewal import Renewal
from stationkeep.node.security.rotation import CaFiles, is_entitled

MESSAGE = "ca_key"
"""The kind of messages between members that ask for a key, or bring it."""
LOOK_SECONDS = 2.0
"""Between two looks while a CA is replaced, and between two questions for its key."""
ANSWER_SECONDS = 0.1
"""Between two answers: files are read for each."""

log = structlog.get_logger("node.security")


class CaFollower:
    """`network`: of links that are encrypted, to members."""

    def __init__(self, bench: Workbench, renewal: Renewal, network: Network) -> None:
        self._replica, self._clock, self._node = bench.replica, bench.host.clock, bench.node
        self._consensus, self._network = bench.consensus, network
        self._renewal, self._files = renewal, CaFiles(renewal.contexts.files.ca)
        self._owed = Owed(bench)
        self._seen: CaRotation | None = None
        self._look_at = self._answer_at = 0.0
        self._fault: str | None = None
        self._lacks_key = True
        """Of the second CA, at the last look."""

    def turn(self) -> None:
        """Follows the state; to be called whenever that may have changed, and now and then."""
        rotation = self._replica.state.rotation
        if rotation is None:
            return
        now = self._clock.monotonic()
        if self._is_news(rotation) or (now >= self._look_at and self._is_awaited(rotation)):
            self._seen, self._look_at = rotation, now + LOOK_SECONDS
            self._look(rotation)
        self._tell(rotation)

    def _is_news(self, rotation: CaRotation) -> bool:
        """Whatever others have reached is none."""
        seen = self._seen
        return seen is None or (seen.pin, seen.phase) != (rotation.pin, rotation.phase)

    def _is_awaited(self, rotation: CaRotation) -> bool:
        """Also after the end: somebody may have put back files of before."""
        rejected = self._renewal.contexts.rejected is not None
        return rotation.under_way or self._fault is not None or rejected

    def _look(self, rotation: CaRotation) -> None:
        fault = None
        try:
            today = datetime.fromtimestamp(self._clock.wall() / 1_000, UTC)
            self._files.follow(rotation, self._replica.state.dropped, today)
            self._lacks_key = self._files.lacks(rotation.pin)
            if rotation.under_way and self._lacks_key:
                self._ask(rotation.pin)
        except CertificateError as error:
            fault = f"the CA cannot be replaced here: {error}"
        except OSError as error:
            where = f"{error.filename or 'its files'}: {error.strerror}"
            fault = f"the CA cannot be replaced here: {where}"
        if fault is not None and fault != self._fault:
            log.error("ca_not_followed", why=fault)
        self._fault = fault
        self._renewal.look()

    def _tell(self, rotation: CaRotation) -> None:
        """Owes the log what it does not know."""
        step = self._reached(rotation)
        known = rotation.reached.get(self._node)
        member = self._node in self._replica.state.members
        if not (rotation.under_way and member) or step is known or self._consensus.leader is None:
            self._owed.keep(())
            return
        key = (rotation.pin, step)
        self._owed.keep([key])
        if self._owed.is_due(key):
            self._owed.propose(key, FollowCa(self._node, rotation.pin, step or ""))

    def _reached(self, rotation: CaRotation) -> CaStep | None:
        current = self._renewal.contexts.current
        if current.issued_by == rotation.pin:
            return CaStep.SHOWS
        return CaStep.TRUSTS if rotation.pin in current.pins and not self._lacks_key else None

    def rejected(self) -> str | None:
        """What keeps this node from following, in a sentence."""
        return self._fault

    # -- the key, from member to member

    def _ask(self, pin: str) -> None:
        question = {"kind": MESSAGE, "pin": pin, "claim": self._files.claim(self._node, pin)}
        for peer in self._replica.state.members:
            if self._network.connected(peer):
                self._network.send(peer, question)

    def receive(self, peer: str, message: dict[str, Any]) -> None:
        """A question for the key of the second CA, or an answer. Nobody is told of another one, and
        only members that have the key of the first are told: others could not make members before,
        and are not to be able to once they have left."""
        state = self._replica.state
        rotation = state.rotation
        if rotation is None or peer not in state.members or message.get("pin") != rotation.pin:
            return
        key = message.get("key")
        if key is None:
            self._answer(peer, message.get("claim"), rotation)
        elif isinstance(key, bytes) and rotation.under_way and self._files.lacks(rotation.pin):
            self._take(peer, key, rotation)

    def _answer(self, peer: str, claim: object, rotation: CaRotation) -> None:
        now = self._clock.monotonic()
        if now < self._answer_at:
            return  # it asks again
        self._answer_at = now + ANSWER_SECONDS
        if not (isinstance(claim, bytes) and is_entitled(claim, peer, rotation)):
            log.warning("ca_key_withheld", peer=peer)
            return
        try:
            key = self._files.key(rotation.pin)
        except CertificateError:
            return
        if key is not None:
            self._network.send(peer, {"kind": MESSAGE, "pin": rotation.pin, "key": key})

    def _take(self, peer: str, key: bytes, rotation: CaRotation) -> None:
        try:
            self._files.take(key, rotation.pin)
        except (CertificateError, OSError) as error:
            log.warning("ca_key_refused", peer=peer, why=str(error))
            return
        self._look(rotation)
