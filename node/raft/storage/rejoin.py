"""A node that lost its disk, or cannot trust it: an empty data directory under a new incarnation.

What such a node had promised (votes, acknowledged entries) it no longer knows. Its new journal
says so durably (`Journal.lost`) before it is put in place, so that the node cannot vote or stand
for election in between as if it were new: not even while the cluster is being founded, when a
journal without any past is what everybody has. Raft paper, figure 2, "persistent state".
"""

import shutil
from pathlib import Path

from stationkeep.node.raft.storage.journal import Journal
from stationkeep.node.raft.storage.snapshot_file import sync_directory
from stationkeep.node.raft.storage.sqlite import hold


def rejoin_empty(data_dir: Path, *, cluster: str, node: str) -> Path | None:
    """Moves the data directory aside and puts a marked, empty one in its place.

    Returns where the old one is now; None when there was none. Interrupted, it is simply run
    again. Raises `DataDirInUse` while the node runs, `JournalError`, `OSError`.
    """
    prepared = data_dir.with_name(data_dir.name + ".rejoin")
    with hold(data_dir):
        shutil.rmtree(prepared, ignore_errors=True)
        journal = Journal(prepared, cluster=cluster, node=node)
        journal.replaces_a_lost_one()
        journal.commit()
        journal.close()
        aside = None
        if data_dir.exists():
            aside = _free_name(data_dir)
            data_dir.rename(aside)
        prepared.rename(data_dir)
        sync_directory(data_dir.parent)
    return aside


def _free_name(data_dir: Path) -> Path:
    number = 1
    while (aside := data_dir.with_name(f"{data_dir.name}.lost-{number}")).exists():
        number += 1
    return aside
