"""Switches of the guards, for the simulator alone: with one off, the engine does what stock does.

Product code never passes anything but `Guards()`. What a switch cannot turn off has no field: S10
is in the commands (propose without a key), L1, L4, L5, L9, L10 and the ban on pickle are how the
parts are built. README.md beside this file explains each number.
"""

import msgspec


class Guards(msgspec.Struct, frozen=True, kw_only=True):
    """One switch per hazard. "Paper": Raft, extended version; "diss.": Ongaro 2014."""

    s1: bool = True
    """Snapshot chunks commit nothing of an unverified log. Paper, AppendEntries 5.
    Off: they commit min(leader's commit, own end)."""
    s2: bool = True
    """Chunks follow one another, a stale snapshot changes nothing. Paper, InstallSnapshot 2-6.
    Off: any first chunk begins, any other is added, the last installs."""
    s3: bool = True
    """An append deletes only what conflicts. Paper, AppendEntries 3, 4.
    Off: everything behind prevLogIdx goes."""
    s4: bool = True
    """Replies belong to one term and one request. Paper, figure 2, "rules for leaders".
    Off: any reply moves matchIndex and nextIndex."""
    s5: bool = True
    """Term, vote and log are durable before a message that depends on them leaves; a node that lost
    its disk elects none that lacks what it had promised. Paper, figure 2, "persistent state".
    Off: written once a second, messages do not wait, and births are not looked at."""
    births: bool = True
    """A voter's journal counts for a leader once it is admitted. Diss. 4.2.1. Off: any does."""
    s6: bool = True
    """A journal that covers the snapshot is kept at start. Paper, InstallSnapshot 6.
    Off: it is cleared unless it begins exactly with the snapshot's entries."""
    s7: bool = True
    """A damaged snapshot stops the node. Off: it means an empty state beside a live log."""
    s8: bool = True
    """One vote per voter and term. Paper, 5.2. Off: one per message."""
    s9: bool = True
    """One membership change at a time, and only in office; rolled back when truncated.
    Diss. 4.1 and the correction of 2015. Off: changes overlap, and the removed campaign."""
    s11: bool = True
    """A node with a full disk goes on as a follower without a leader. Off: its process ends."""
    l2: bool = True
    """Pre-vote and leader stickiness. Diss. 9.6, 4.2.3.
    Off: every timeout raises the term."""
    l3: bool = True
    """A conflict is walked back a term at a time. Paper, end of 5.3. Off: an entry at a time."""
    l6: bool = True
    """A leader without a quorum steps down within `Timings.step_down`. Diss. 6.2. Off: 30 s."""
    l7: bool = True
    """Every proposal is answered by its deadline. Off: a lost one never is."""
    l8: bool = True
    """No more in flight to a follower than it can take. Off: no limit."""


STOCK_FALLBACK_SECONDS = 30.0
STOCK_FLUSH_SECONDS = 1.0
"""How long stock leaves its metadata in memory (S5 off)."""
