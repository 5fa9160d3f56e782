"""A cluster that begins with devices, as if they had registered long ago."""

from pathlib import Path

from stationkeep.cluster.apply import Done, apply
from stationkeep.cluster.commands import (
    MAX_REGISTRATIONS,
    Command,
    Draft,
    Entry,
    FoundCluster,
    MemberSpec,
    RegisterDevices,
    Registration,
)
from stationkeep.cluster.levels import HIGHEST
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.state import ClusterState
from stationkeep.node.raft.engine.messages import NO_OP
from stationkeep.node.raft.storage.snapshot_file import Snapshot, encode, restore_into, write_file
from tests.hosts.cluster import NAME, Cluster


def restored(cluster: Cluster, devices: int) -> None:
    """Has the nodes, not started yet, begin with a snapshot with so many devices: their log has
    nothing that is before it."""
    file = cluster.bed.folder / "snapshot"
    write_snapshot(file, cluster, devices)
    for machine in cluster.machines:
        restore_into(machine.folder / "data", file, NAME, machine.name)


def write_snapshot(file: Path, cluster: Cluster, devices: int) -> None:
    state = ClusterState()
    members = tuple(MemberSpec(id_, **found) for id_, found in cluster.addresses().items())
    founding = FoundCluster(NAME, members, PROFILES["demo"], HIGHEST, "0", cluster.ca.uid)
    _apply(state, founding)
    for at in range(0, devices, MAX_REGISTRATIONS):
        some = range(at, min(at + MAX_REGISTRATIONS, devices))
        new = tuple(Registration(f"device-{n:07d}", os_version="Android 14") for n in some)
        _apply(state, RegisterDevices("sat-001", new))
    names = tuple(member.id for member in members)
    previous, last = (NO_OP, state.index + 1, 1), (NO_OP, state.index + 2, 1)
    content = memoryview(codec.encode_snapshot(state))
    write_file(file, encode(Snapshot(NAME, names, previous, last, content)))


def _apply(state: ClusterState, command: Command) -> None:
    applied = apply(state, Entry(state.time, 0, Draft(command)), state.index + 1)
    assert isinstance(applied.outcome, Done), applied.outcome
