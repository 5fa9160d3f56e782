"""What a node remembers of its hooks across a restart."""

import msgspec
import structlog

from stationkeep.cluster.transitions import Role
from stationkeep.cluster.unreadable import UNREADABLE, explain
from stationkeep.node.ports import Memory

log = structlog.get_logger("node.enactor")


class Enacted(msgspec.Struct):
    """`role`, `epoch`: enacted last with success. `attempted`: a role whose hook was started
    since, while none succeeded: whatever the node is now, it is not surely in `role` any more.
    An attempt at PRIMARY is not forgotten for a later attempt at something else, since that may
    have failed to undo it. `finished`: results of operators' actions not yet acknowledged,
    action id → (success, detail)."""

    role: Role | None = None
    epoch: int = 0
    attempted: Role | None = None
    finished: dict[str, tuple[bool, str]] = {}

    @property
    def may_be_primary(self) -> bool:
        """Whether something that a PRIMARY hook started may still run."""
        return Role.PRIMARY in (self.role, self.attempted)


def recall(memory: Memory) -> Enacted:
    """What was enacted before the restart; nothing where that cannot be read, so that the
    hook of the current role runs again."""
    saved = memory.load()
    if saved is None:
        return Enacted()
    try:
        return msgspec.json.decode(saved, type=Enacted)
    except UNREADABLE as error:
        fault = str(explain(error, "json"))
        log.error("unreadable, taken for empty", what="enacted", error=fault)
        return Enacted()


def remember(memory: Memory, enacted: Enacted) -> None:
    """Keeps what was done. A disk that refuses costs no more than a hook run again after a
    restart, which hooks allow; stopping the node for it would cost the node."""
    try:
        memory.save(msgspec.json.encode(enacted))
    except OSError as error:
        log.error("cannot be remembered across a restart", what="enacted", error=str(error))
