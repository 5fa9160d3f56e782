"""What we rely on in PySyncObj 0.3.17, name by name.

A failure here means: the installed release is another library. Read its `syncobj.py` again,
with node/raft/README.md beside it, before changing these tables.
"""

import _socket
import inspect
import re
import socket
from pathlib import Path

import pysyncobj
import pysyncobj.syncobj
import pysyncobj.version
import pytest
from pysyncobj import SyncObj
from pysyncobj.journal import Journal as LibraryJournal
from pysyncobj.node import Node
from pysyncobj.serializer import Serializer
from pysyncobj.transport import Transport

from stationkeep.node.raft.engine.engine import Engine
from stationkeep.node.raft.engine.transport import OutboxTransport
from stationkeep.node.raft.storage.journal import Journal
from stationkeep.node.raft.storage.snapshot_store import SnapshotStore

SOURCES = Path(__file__).parents[3] / "node" / "raft"

OVERRIDDEN = {
    "_SyncObj__onMessageReceived": "(self, node, message)",
    "_SyncObj__sendNextNodeIdx": "(self, node, reset=False, nextNodeIdx=None, success=False)",
    "_SyncObj__sendAppendEntries": "(self)",
    "_SyncObj__onBecomeLeader": "(self)",
    "_SyncObj__onNodeConnected": "(self, node)",
    "_SyncObj__applyLogEntries": "(self)",
    "_SyncObj__doApplyCommand": "(self, command)",
    "_SyncObj__parseChangeClusterRequest": "(self, command)",
    "_SyncObj__loadDumpFile": "(self, clearJournal)",
    "_SyncObj__deleteEntriesTo": "(self, toIDx)",
    "_SyncObj__generateRaftTimeout": "(self)",
    "_checkCommandsToApply": "(self)",
}
CALLED = {
    "_SyncObj__setCurrentTerm": "(self, term, votedForNodeId)",
    "_SyncObj__setState": "(self, newState)",
    "_SyncObj__connectedToAnyone": "(self)",
    "_SyncObj__tryLogCompaction": "(self)",
    "_isLeader": "(self)",
    "_getLeader": "(self)",
    "_getConf": "(self)",
    "doTick": "(self, timeToWait=0.0)",
    "transferLeadership": "(self, node=None, callback=None)",
}


def test_the_release_is_the_pinned_one() -> None:
    assert pysyncobj.version.VERSION == "0.3.17"


@pytest.mark.parametrize(("name", "signature"), sorted({**OVERRIDDEN, **CALLED}.items()))
def test_methods_are_there_with_their_signatures(name: str, signature: str) -> None:
    method = getattr(SyncObj, name, None)
    assert method is not None, f"PySyncObj has no {name} any more"
    assert str(inspect.signature(method)) == signature


@pytest.mark.parametrize("name", sorted(OVERRIDDEN))
def test_overrides_take_the_same_parameters(name: str) -> None:
    ours = inspect.signature(getattr(Engine, name)).parameters
    theirs = inspect.signature(getattr(SyncObj, name)).parameters
    assert getattr(Engine, name) is not getattr(SyncObj, name), f"{name} is not overridden"
    assert [(p.name, p.default) for p in ours.values()] == [
        (p.name, p.default) for p in theirs.values()
    ]


def test_every_private_name_in_our_sources_exists() -> None:
    used = set()
    for file in SOURCES.rglob("*.py"):
        used |= set(re.findall(r"_SyncObj__\w+", file.read_text()))
    used.discard("_SyncObj__name")  # in prose
    source = inspect.getsource(pysyncobj.syncobj)
    missing = {
        name
        for name in used
        if not hasattr(SyncObj, name) and f"self.{name.removeprefix('_SyncObj')} =" not in source
    }
    assert not missing


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Journal, LibraryJournal), (SnapshotStore, Serializer), (OutboxTransport, Transport)],
)
def test_our_parts_have_the_whole_interface(ours: type, theirs: type) -> None:
    for name, method in inspect.getmembers(theirs, inspect.isfunction):
        if name == "__init__" or (name.startswith("_") and not name.startswith("__")):
            continue
        if name in {"serialize", "deserialize"} or hasattr(ours, name):
            assert list(inspect.signature(getattr(ours, name)).parameters) == list(
                inspect.signature(method).parameters
            ), name
        else:
            pytest.fail(f"{ours.__name__} lacks {name}")


def test_time_randomness_and_journal_are_looked_up_where_we_replace_them() -> None:
    source = inspect.getsource(SyncObj)
    assert "monotonicTime()" in source
    assert "createJournal(self.__conf.journalFile)" in source
    assert (
        pysyncobj.syncobj.monotonicTime.__module__ == "stationkeep.node.raft.engine.pysyncobj_patch"
    )
    assert inspect.getsource(SyncObj).count("random.random()") == 1, "only election timeouts"


def test_the_tick_does_what_the_turn_relies_on() -> None:
    """The order within a tick: elections and commit rule, appends, proposals, compaction."""
    tick = inspect.getsource(SyncObj._onTick)
    order = [
        "self.__raftElectionDeadline < monotonicTime()",
        "self.__raftLog.setRaftCommitIndex",
        "needSendAppendEntries = self.__applyLogEntries()",
        "self.__sendAppendEntries()",
        "self._checkCommandsToApply()",
        "self.__tryLogCompaction()",
        "self._poller.poll(timeToWait)",
    ]
    found = [tick.index(line) for line in order]
    assert found == sorted(found)


def test_the_damage_of_importing_the_library_is_undone() -> None:
    assert socket.inet_ntop is _socket.inet_ntop
    assert socket.inet_ntop(socket.AF_INET, b"\x7f\0\0\1") == "127.0.0.1"


def test_nodes_are_equal_by_id() -> None:
    assert Node("a") == Node("a")
    assert hash(Node("a")) == hash(Node("a"))
    assert Node("a") != Node("b")


def test_no_pickle_in_our_sources() -> None:
    for file in SOURCES.rglob("*.py"):
        code = re.sub(r'""".*?"""|#.*', "", file.read_text(), flags=re.S)
        assert "pickle" not in code, file


def test_majorities_are_of_the_other_nodes_and_of_ourselves() -> None:
    """What `roster.py` relies on: votes, commit rule and step-down count `__otherNodes` + 1."""
    source = inspect.getsource(SyncObj)
    assert source.count("self.__votesCount > (len(self.__otherNodes) + 1) / 2") == 2
    assert source.count("count <= (len(self.__otherNodes) + 1) / 2") == 2


def test_an_election_begins_when_its_deadline_is_made_to_pass() -> None:
    """What `elections.py` relies on: the only way into candidacy, and how it is forced."""
    source = inspect.getsource(SyncObj)
    assert source.count("self.__setState(_RAFT_STATE.CANDIDATE)") == 1
    assert "self.__raftElectionDeadline = 0\n" in source, "timeout_now"
    assert source.count("self.__transferInProgress = True") == 1
